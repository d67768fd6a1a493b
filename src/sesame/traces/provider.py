"""Where spans go: an OpenTelemetry provider that exports over OTLP, as the standard variables say.

Made by `_traces` where traces are asked for. Needs the extra `otel`; `OTEL_EXPORTER_OTLP_…`, `OTEL_TRACES_SAMPLER`,
`OTEL_RESOURCE_ATTRIBUTES`, `OTEL_SERVICE_NAME` and `OTEL_BSP_…` are read by OpenTelemetry itself.
"""

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter

from sesame import __version__

NAME = "sesame"
# What OpenTelemetry calls a program that nobody named.
_UNNAMED = "unknown_service"


def provider(exporter: SpanExporter | None = None) -> TracerProvider:
    """Spans are exported by a thread; `shutdown` exports those that wait. Without an exporter, over OTLP by HTTP."""
    made = TracerProvider(resource=_resource(), shutdown_on_exit=False)
    made.add_span_processor(BatchSpanProcessor(exporter or OTLPSpanExporter()))
    return made


def _resource() -> Resource:
    found = Resource.create({SERVICE_VERSION: __version__})
    unnamed = str(found.attributes[SERVICE_NAME]).startswith(_UNNAMED)
    return found.merge(Resource({SERVICE_NAME: NAME})) if unnamed else found
