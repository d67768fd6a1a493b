"""Reads the caller's trace context from a request's head: the cloud's own headers, else W3C's `traceparent`.

Called by `fc.invoke`, `fc.async_invoke` and `fc.web.http_functions`; functions see it in `context.tracing`.
"""

from collections.abc import Callable, Mapping

from sesame.fc.auth.request_head import RequestHead
from sesame.model import span_context

# Maps the caller's trace to what a queued invocation stores of it: if this server traces, the request's span.
Continued = Callable[[Mapping[str, object] | None], Mapping[str, object] | None]

_PREFIX = b"x-fc-tracing-opentracing-"
_SPAN_CONTEXT = _PREFIX + b"span-context"
_BAGGAGE = _SPAN_CONTEXT + b"-baggage-"
# Key in the memory of a head.
_TRACING = "tracing"


def tracing_of(head: RequestHead) -> Mapping[str, object] | None:
    """See `model.invocation.Invocation.tracing`; None if the caller does not trace. Cached for repeated heads."""
    if _TRACING not in head.memory:
        head.memory[_TRACING] = _read(head)
    tracing: Mapping[str, object] | None = head.memory[_TRACING]
    return tracing


def _read(head: RequestHead) -> Mapping[str, object] | None:
    context, baggages = "", {}
    for name, value in head.fc_headers:
        if name.startswith(_PREFIX):
            if name == _SPAN_CONTEXT:
                context = value.decode("latin-1")
            elif name.startswith(_BAGGAGE):
                baggages[name[len(_BAGGAGE) :].decode("latin-1")] = value.decode("latin-1")
    if not context and head.traceparent:
        found = span_context.from_traceparent(head.traceparent.decode("latin-1"))
        context = "" if found is None else found.as_jaeger()
    return {"span_context": context, "span_baggages": baggages} if context or baggages else None
