"""An OpenTelemetry provider that exports spans over OTLP, configured by the standard variables.

Created by `_traces` if tracing is enabled. Needs the extra `otel`; OpenTelemetry itself reads `OTEL_EXPORTER_OTLP_…`,
`OTEL_TRACES_SAMPLER`, `OTEL_RESOURCE_ATTRIBUTES`, `OTEL_SERVICE_NAME` and `OTEL_BSP_…`.
"""

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter

from sesame import __version__

NAME = "sesame"
# OpenTelemetry's name for a program without a configured name.
_UNNAMED = "unknown_service"


def provider(exporter: SpanExporter | None = None) -> TracerProvider:
    """A thread exports spans; `shutdown` exports the remaining ones. The default exporter uses OTLP over HTTP."""
    provided = TracerProvider(resource=_resource(), shutdown_on_exit=False)
    provided.add_span_processor(BatchSpanProcessor(exporter or OTLPSpanExporter()))
    return provided


def _resource() -> Resource:
    found = Resource.create({SERVICE_VERSION: __version__})
    unnamed = str(found.attributes[SERVICE_NAME]).startswith(_UNNAMED)
    return found.merge(Resource({SERVICE_NAME: NAME})) if unnamed else found
