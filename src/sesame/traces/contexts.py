"""Converts between OpenTelemetry contexts and the forms in which callers and functions write a span.

Used by `traces.endpoint` and `traces.calls`.
"""

from collections.abc import Mapping

from opentelemetry import propagate, trace
from opentelemetry.context import Context
from opentelemetry.trace import NonRecordingSpan, Span, TraceFlags

from sesame.model import span_context
from sesame.model.span_context import SpanContext

# The cloud's own header, in Jaeger's form.
SPAN_CONTEXT_HEADER = "x-fc-tracing-opentracing-span-context"


def of_headers(headers: Mapping[str, str]) -> Context:
    """The caller's context from the cloud's header, else according to `OTEL_PROPAGATORS` (by default W3C's headers)."""
    own = span_context.from_jaeger(headers.get(SPAN_CONTEXT_HEADER, ""))
    return propagate.extract(headers) if own is None else _remote(own)


def of_tracing(tracing: Mapping[str, object] | None) -> Context:
    """The context in `model.invocation.Invocation.tracing`; empty if there is none."""
    found = span_context.from_jaeger(str((tracing or {}).get("span_context", "")))
    return Context() if found is None else _remote(found)


def tracing_of(span: Span, tracing: Mapping[str, object] | None) -> dict[str, object]:
    """`tracing` for the function, with this span instead of the caller's."""
    return {"span_baggages": {}, **(tracing or {}), "span_context": _context_of(span).as_jaeger()}


def traceparent_of(span: Span) -> str:
    return _context_of(span).as_traceparent()


def _context_of(span: Span) -> SpanContext:
    found = span.get_span_context()
    return SpanContext(
        trace.format_trace_id(found.trace_id), trace.format_span_id(found.span_id), found.trace_flags.sampled
    )


def _remote(found: SpanContext) -> Context:
    parent = trace.SpanContext(
        trace_id=int(found.trace_id, 16),
        span_id=int(found.span_id, 16),
        is_remote=True,
        trace_flags=TraceFlags(TraceFlags.SAMPLED if found.sampled else TraceFlags.DEFAULT),
    )
    return trace.set_span_in_context(NonRecordingSpan(parent), Context())
