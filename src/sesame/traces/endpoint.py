"""Creates a span for each request to the Function Compute endpoint.

`_traces` wraps the endpoint in it. The span continues the caller's trace; `traces.calls` creates the call's span below
it.
"""

from collections.abc import Mapping
from typing import Protocol

from opentelemetry import trace
from opentelemetry.trace import SpanKind, Status, StatusCode, Tracer

from sesame.http.interface import Answer, Disconnected, Endpoint, Exchange, Refusal, WebSocket
from sesame.traces import contexts

_SERVER_ERROR = 500


class WebEndpoint(Endpoint, Protocol):
    """An endpoint that also serves websockets."""

    async def serve_websocket(self, websocket: WebSocket) -> None: ...


class TracedEndpoint:
    """An `http.interface.Endpoint`. Spans never contain a request's query, which may hold a signature."""

    def __init__(self, endpoint: WebEndpoint, tracer: Tracer) -> None:
        self._endpoint = endpoint
        self._tracer = tracer
        self.serve_websocket = endpoint.serve_websocket

    async def serve(self, exchange: Exchange) -> None:
        request = exchange.request
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in request.headers}
        span = self._tracer.start_span(
            request.method,
            contexts.of_headers(headers),
            SpanKind.SERVER,
            {
                "http.request.method": request.method,
                "url.path": request.raw_path.decode("latin-1"),
                "url.scheme": request.scheme,
                "client.address": request.client[0],
            },
        )
        try:
            with trace.use_span(span, record_exception=False, set_status_on_exception=False):
                await self._endpoint.serve(exchange)
        except BaseException as error:
            if isinstance(error, Disconnected):
                span.set_status(Status(StatusCode.ERROR, "the client disconnected"))
            span.end()
            raise
        # A request passed on to another agent has a span there; this one, never ended, is not exported.
        if exchange.begun:
            span.set_attribute("http.response.status_code", exchange.status)
            if exchange.status >= _SERVER_ERROR:
                span.set_status(Status(StatusCode.ERROR))
            span.end()

    def refuse(self, refusal: Refusal) -> Answer:
        return self._endpoint.refuse(refusal)


def continued(tracing: Mapping[str, object] | None) -> Mapping[str, object] | None:
    """What an asynchronous invocation stores of its request: the request's span, which its attempts continue."""
    span = trace.get_current_span()
    return contexts.tracing_of(span, tracing) if span.get_span_context().is_valid else tracing
