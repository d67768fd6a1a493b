"""Creates a span for each call, with child spans for its phases: queue, start and its steps, initialize, handler.

`_traces` wraps `engine.interface.Engine.invoke` in it. Functions find the call's span in `context.tracing`, HTTP
functions also in the header `traceparent`.
"""

from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from opentelemetry import context, trace
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, Tracer

from sesame.engine.interface import Invoke
from sesame.model.clocks import Clocks
from sesame.model.invocation import Invocation, Outcome, Phases
from sesame.model.owner import label, service_of
from sesame.traces import contexts

_TRACEPARENT = "traceparent"
NS_PER_S, NS_PER_MS = 1_000_000_000, 1_000_000


class TracedCalls:
    """A call within a request becomes a child of the request's span; an asynchronous attempt, of the stored span."""

    def __init__(self, invoke: Invoke, tracer: Tracer, clocks: Clocks) -> None:
        self._invoke = invoke
        self._tracer = tracer
        self._clocks = clocks

    async def invoke(self, invocation: Invocation, *began: Callable[[str], None]) -> Outcome:
        """See `Engine.invoke`."""
        asynchronous, target = invocation.asynchronous, invocation.target
        span = self._tracer.start_span(
            label(target.service, target.function),
            contexts.of_tracing(invocation.tracing) if asynchronous else context.get_current(),
            SpanKind.CONSUMER if asynchronous else SpanKind.INTERNAL,
            {
                "faas.name": target.function,
                "faas.invocation_id": invocation.request_id,
                "faas.trigger": "pubsub" if asynchronous else "http" if invocation.http_params else "other",
                "sesame.service": service_of(target.service),
                "sesame.qualifier": target.qualifier,
                "sesame.retry_count": invocation.retry_count,
            },
            start_time=self._now_ns(),
        )
        try:
            outcome = await self._invoke(_within(span, invocation), *began)
        except BaseException as error:
            span.set_attribute("error.type", type(error).__name__)
            span.set_status(Status(StatusCode.ERROR, str(error)))
            span.end(self._now_ns())
            raise
        ended_ns = self._now_ns()
        if span.is_recording():
            self._describe(span, outcome, ended_ns)
        span.end(ended_ns)
        return outcome

    def _describe(self, span: Span, outcome: Outcome, ended_ns: int) -> None:
        span.set_attributes(
            {
                "faas.coldstart": outcome.cold,
                "faas.instance": outcome.instance_id,
                "faas.version": outcome.version_id,
                "sesame.memory_mb": outcome.memory_mb,
            }
        )
        if outcome.error is not None:
            span.set_attribute("error.type", outcome.error.type)
            span.set_status(Status(StatusCode.ERROR, outcome.error.reason))
        parent = trace.set_span_in_context(span)
        for name, began_ns, until_ns, steps in _timeline(outcome.phases, ended_ns):
            phase = self._tracer.start_span(name, parent, start_time=began_ns)
            for step, spent_ms in steps.items():
                step_until_ns = began_ns + int(spent_ms * NS_PER_MS)
                below = trace.set_span_in_context(phase)
                self._tracer.start_span(step.removesuffix("_ms"), below, start_time=began_ns).end(step_until_ns)
                began_ns = step_until_ns
            phase.end(until_ns)

    def _now_ns(self) -> int:
        return int(self._clocks.wall() * NS_PER_S)


def _within(span: Span, invocation: Invocation) -> Invocation:
    """The invocation as the function sees it, so that the function's own spans become children of `span`."""
    tracing, params = contexts.tracing_of(span, invocation.tracing), invocation.http_params
    if params is not None:
        headers: Any = params["headers"]
        others = [header for header in headers if header[0] != _TRACEPARENT]
        params = {**params, "headers": [*others, [_TRACEPARENT, contexts.traceparent_of(span)]]}
    return msgspec.structs.replace(invocation, tracing=tracing, http_params=params)


def _timeline(phases: Phases, ended_ns: int) -> list[tuple[str, int, int, Mapping[str, float]]]:
    """Name, start, end (ns) and steps of each phase, computed backwards from the end of the handler."""
    found: list[tuple[str, int, int, Mapping[str, float]]] = []
    until_ns = ended_ns
    for name, spent_ms, steps in (
        ("handler", phases.invoke_ms, {}),
        ("initialize", phases.initialize_ms, {}),
        ("start", phases.start_ms, phases.steps),
        ("queue", phases.queue_ms, {}),
    ):
        if spent_ms > 0:
            began_ns = until_ns - int(spent_ms * NS_PER_MS)
            found.append((name, began_ns, until_ns, steps))
            until_ns = began_ns
    return found[::-1]
