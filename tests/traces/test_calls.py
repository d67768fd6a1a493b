"""Spans of calls: continued from the caller, parted into phases, told to the function.

Run by pytest, with OpenTelemetry's exporter to memory.
"""

import asyncio
from typing import Any

import msgspec
import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.trace import SpanKind, StatusCode
from tests.support.exchanges import FakeExchange
from tests.support.fakes import FakeClocks

from sesame.http.interface import Answer, Exchange, Refusal, WebSocket
from sesame.http.request import Request
from sesame.model.errors import Exhausted
from sesame.model.invocation import FunctionError, Invocation, Outcome, Phases, Target
from sesame.model.span_context import from_jaeger, from_traceparent
from sesame.traces import contexts
from sesame.traces.calls import TracedCalls
from sesame.traces.endpoint import TracedEndpoint, continued

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
CALL = Invocation("r-1", Target("s", "LATEST", "f"), b"event")
OUTCOME = Outcome(b"", None, 4.0, 30.0, b"", "c-1", "LATEST", "1", False, Phases(invoke_ms=4.0))
MS = 1_000_000


class Traced:
    """`seen` has the calls as the engine gets them, `answer` is how they end."""

    def __init__(self, sampler: Any = None) -> None:
        self.exporter = InMemorySpanExporter()
        self.clocks = FakeClocks()
        provider = TracerProvider(sampler=sampler)
        provider.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.tracer = provider.get_tracer("test")
        self.calls = TracedCalls(self._run, self.tracer, self.clocks)
        self.seen: list[Invocation] = []
        self.answer: Outcome | BaseException = OUTCOME

    async def _run(self, invocation: Invocation) -> Outcome:
        self.seen.append(invocation)
        if isinstance(self.answer, BaseException):
            raise self.answer
        return self.answer

    def spans(self) -> dict[str, ReadableSpan]:
        return {span.name: span for span in self.exporter.get_finished_spans()}


def ids(span: ReadableSpan) -> tuple[str, str]:
    return f"{span.context.trace_id:032x}", f"{span.context.span_id:016x}"


def parent_of(span: ReadableSpan) -> str:
    return "" if span.parent is None else f"{span.parent.span_id:016x}"


async def test_the_phases_of_a_cold_call_lie_one_after_the_other_below_its_span() -> None:
    traced = Traced()
    phases = Phases(1.0, 5.0, 2.0, 4.0, {"fork_ms": 2.0, "shim_ms": 3.0})
    traced.answer = msgspec.structs.replace(OUTCOME, cold=True, phases=phases)
    await traced.calls.invoke(CALL)
    spans = traced.spans()
    assert set(spans) == {"s/f", "queue", "start", "fork", "shim", "initialize", "handler"}
    end = spans["s/f"].end_time
    assert end is not None
    times = {name: tuple((at or 0) - end for at in (span.start_time, span.end_time)) for name, span in spans.items()}
    assert times["queue"] == (-12 * MS, -11 * MS)
    assert times["start"] == (-11 * MS, -6 * MS)
    assert times["fork"] == (-11 * MS, -9 * MS)
    assert times["shim"] == (-9 * MS, -6 * MS)
    assert times["initialize"] == (-6 * MS, -4 * MS)
    assert times["handler"] == (-4 * MS, 0)
    assert {parent_of(spans[name]) for name in ("queue", "start", "initialize", "handler")} == {ids(spans["s/f"])[1]}
    assert {parent_of(spans[name]) for name in ("fork", "shim")} == {ids(spans["start"])[1]}
    assert (spans["s/f"].attributes or {})["faas.coldstart"] is True


async def test_the_span_of_a_function_without_a_service_has_its_name_alone() -> None:
    traced = Traced()
    await traced.calls.invoke(msgspec.structs.replace(CALL, target=Target("$f", "LATEST", "f")))
    span = traced.spans()["f"]
    assert span.attributes is not None
    assert (span.attributes["faas.name"], span.attributes["sesame.service"]) == ("f", "")


async def test_the_function_is_told_the_span_of_its_call() -> None:
    traced = Traced()
    params: dict[str, object] = {"method": "GET", "headers": [["host", "a"], ["traceparent", "of the caller"]]}
    tracing = {"span_context": "", "span_baggages": {"user": "ann"}}
    await traced.calls.invoke(msgspec.structs.replace(CALL, tracing=tracing, http_params=params))
    (seen,) = traced.seen
    assert seen.tracing is not None
    told = from_jaeger(str(seen.tracing["span_context"]))
    assert told is not None
    assert (told.trace_id, told.span_id) == ids(traced.spans()["s/f"])
    assert seen.tracing["span_baggages"] == {"user": "ann"}
    assert seen.http_params is not None
    headers: Any = seen.http_params["headers"]
    assert headers[0] == ["host", "a"]
    assert [from_traceparent(value) for name, value in headers if name == "traceparent"] == [told]


async def test_an_attempt_continues_the_trace_that_its_invocation_kept() -> None:
    traced = Traced()
    kept = {"span_context": f"{TRACE}:{SPAN}:0:1", "span_baggages": {}}
    await traced.calls.invoke(msgspec.structs.replace(CALL, asynchronous=True, tracing=kept))
    span = traced.spans()["s/f"]
    assert (ids(span)[0], parent_of(span), span.kind) == (TRACE, SPAN, SpanKind.CONSUMER)


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (
            msgspec.structs.replace(OUTCOME, error=FunctionError("FunctionTimeoutError", "timeout")),
            "FunctionTimeoutError",
        ),
        (Exhausted("no place"), "Exhausted"),
        (asyncio.CancelledError(), "CancelledError"),
    ],
)
async def test_what_goes_wrong_is_in_the_span_and_is_passed_on(answer: Outcome | BaseException, kind: str) -> None:
    traced = Traced()
    traced.answer = answer
    if isinstance(answer, BaseException):
        with pytest.raises(type(answer)):
            await traced.calls.invoke(CALL)
    else:
        assert await traced.calls.invoke(CALL) is answer
    span = traced.spans()["s/f"]
    assert span.status.status_code is StatusCode.ERROR
    assert (span.attributes or {})["error.type"] == kind


async def test_what_is_not_sampled_is_not_exported_and_the_function_is_told_so() -> None:
    traced = Traced(ALWAYS_OFF)
    await traced.calls.invoke(CALL)
    assert traced.spans() == {}
    assert str((traced.seen[0].tracing or {})["span_context"]).endswith(":0")


class CallingEndpoint:
    """Invokes the function, keeps what an asynchronous invocation would, and answers with `status`."""

    def __init__(self, traced: Traced, status: int = 200) -> None:
        self._traced = traced
        self._status = status
        self.kept: Any = None

    async def serve(self, exchange: Exchange) -> None:
        self.kept = continued(None)
        await self._traced.calls.invoke(CALL)
        exchange.send_whole(self._status, (), b"", b"")

    async def serve_websocket(self, websocket: WebSocket) -> None: ...

    def refuse(self, refusal: Refusal) -> Answer:
        return Answer(refusal.reason.value, ())


def exchange(*headers: tuple[bytes, bytes]) -> FakeExchange:
    address = ("127.0.0.1", 1)
    path = (b"/2016-08-15/services/s/functions/f/invocations", b"Signature=secret")
    return FakeExchange(Request("POST", path, headers, "1.1", ("http", address, address)))


@pytest.mark.parametrize(
    ("name", "value"),
    [(b"traceparent", f"00-{TRACE}-{SPAN}-01"), (contexts.SPAN_CONTEXT_HEADER.encode(), f"{TRACE}:{SPAN}:0:1")],
)
async def test_a_request_continues_its_callers_trace_and_its_call_is_below_it(name: bytes, value: str) -> None:
    traced = Traced()
    endpoint = CallingEndpoint(traced)
    await TracedEndpoint(endpoint, traced.tracer).serve(exchange((name, value.encode())))
    request, call = traced.spans()["POST"], traced.spans()["s/f"]
    assert (ids(request)[0], parent_of(request), request.kind) == (TRACE, SPAN, SpanKind.SERVER)
    assert (ids(call)[0], parent_of(call)) == ids(request)
    assert from_jaeger(endpoint.kept["span_context"]) == from_traceparent(f"00-{TRACE}-{ids(request)[1]}-01")
    assert (request.attributes or {})["http.response.status_code"] == 200
    assert "secret" not in str(request.attributes)


async def test_a_failure_of_the_server_is_an_error_of_the_request() -> None:
    traced = Traced()
    await TracedEndpoint(CallingEndpoint(traced, 500), traced.tracer).serve(exchange())
    request = traced.spans()["POST"]
    assert parent_of(request) == ""
    assert request.status.status_code is StatusCode.ERROR


async def test_a_request_that_went_on_to_another_agent_has_its_span_there_alone() -> None:
    class Moving(CallingEndpoint):
        async def serve(self, exchange: Exchange) -> None:
            assert not exchange.begun

    traced = Traced()
    await TracedEndpoint(Moving(traced), traced.tracer).serve(exchange())
    assert traced.spans() == {}


def test_without_a_span_an_invocation_keeps_what_its_caller_sent() -> None:
    assert continued(None) is None
    assert continued({"span_context": "c"}) == {"span_context": "c"}
