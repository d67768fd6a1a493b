"""Passes web requests to HTTP functions, and their responses back: below `/2016-08-15/proxy/` and on domains.

Called by `fc.app` with unauthenticated requests: the function's trigger decides who may call. No response of a function
can corrupt the connection on which it is sent.
"""

from collections.abc import Awaitable, Callable
from functools import partial
from typing import TypeVar

import msgspec

from sesame.control.http_triggers import HttpEntry, HttpTriggers
from sesame.fc import async_invoke
from sesame.fc.async_invoke import AsyncRequest
from sesame.fc.auth.permissions import Permissions
from sesame.fc.auth.request_head import head_of
from sesame.fc.auth.verifier import Verifier
from sesame.fc.body import body_if_here
from sesame.fc.invoke import Invoker
from sesame.fc.placement import Placement
from sesame.fc.refusals import ApiError
from sesame.fc.tracing import tracing_of
from sesame.fc.web import http_events, pages
from sesame.fc.web.admission import Admission, AdmissionNeeds
from sesame.fc.web.claims import callers_own
from sesame.fc.web.response_heads import ResponseRules, response_head
from sesame.fc.web.streaming import Handshake, WebRequest, WebStream
from sesame.fc.web.ways import Way, host_of, not_allowed
from sesame.http.head_checks import is_handshake
from sesame.http.interface import Disconnected, Exchange, WebSocket
from sesame.http.moving import settle
from sesame.http.request import Request
from sesame.model.invocation import Invocation, Target
from sesame.model.relaying import FORWARDED_PROTO, named_by_connection, with_sender

_BASE_PATH = "x-fc-base-path"
_FORWARDED_PROTO = FORWARDED_PROTO.decode()
# Functions do not see headers about the connection or reserved for the platform (reference/runtime.md §9). Nor do they
# see names with an underscore: WSGI cannot distinguish `X_Fc_Request_Id` from the platform's `X-Fc-Request-Id`.
_NOT_PASSED_ON = frozenset({b"connection", b"keep-alive", b"transfer-encoding"})
# Keys in the memory of a head.
_SEEN, _PARAMS = "web_request", "http_params"
# FC 3.0's answer instead of a function's error.
_HIDDEN = b"Internal Server Error"


class HttpNeeds(msgspec.Struct, frozen=True):
    """The dependencies of `HttpFunctions`. `wall_clock` returns Unix seconds.

    `placement` is set if this is one of several agents.
    """

    triggers: HttpTriggers
    verifier: Verifier
    permissions: Permissions
    invoker: Invoker
    account_id: str
    wall_clock: Callable[[], float]
    placement: Placement | None = None


T = TypeVar("T")
EventOf = Callable[[bytes], Awaitable[bytes]]


class HttpFunctions:
    def __init__(self, needs: HttpNeeds) -> None:
        self._triggers = needs.triggers
        self._invoker = needs.invoker
        self._admission = Admission(
            AdmissionNeeds(
                needs.verifier, needs.permissions, needs.invoker.read_event, needs.wall_clock, needs.placement
            )
        )
        self._account_id = needs.account_id
        self._wall_clock = needs.wall_clock
        self._placement = needs.placement

    async def serve(self, request_id: str, way: Way, exchange: Exchange) -> None:
        """Answers with the function's response, or with 202 if the client asks for an asynchronous invocation.

        With several agents, another one may do so instead.

        Raises a `CallerError` for clients that the trigger does not admit, and for a response that cannot be sent
        (502).
        """
        request = exchange.request
        entry = self._triggers.of(way.target, on_domain=way.on_domain)
        trigger = entry.config
        if not way.cors.allow_origins and trigger.cors_config.allow_origins:
            way = msgspec.structs.replace(way, cors=trigger.cors_config)
        if way.cors.allow_origins and pages.is_answered(way.cors, exchange, self._invoker.stream_headers(request_id)):
            return
        if request.method not in trigger.methods:
            raise not_allowed(request.method, trigger.methods)
        chain, way, admitted = await self._admission.of(trigger, way, exchange)
        called = way.target
        if self._placement is not None:
            called = self._placement.drawn(way.target, exchange)
            if await self._has_gone(self._placement, called, exchange):
                return
        exchange, request = admitted, admitted.request
        head = head_of(request)
        event_of = self._event_maker(request_id, way, entry, request) if entry.takes_events else None
        if head.invocation_type and async_invoke.is_async(head):
            kept = None if event_of is not None else _params(way, request)
            await self._invoker.accept(AsyncRequest(request_id, way.target, head, kept, chain, event_of), exchange)
            return
        async_invoke.refuse_options(head)
        session = None
        if self._invoker.has_sessions(way.target):
            session = await self._invoker.session(way.target, exchange)
        destined = self._invoker.destined(called, session)
        call_of = partial(
            Invocation,
            request_id,
            way.target,
            tracing=tracing_of(head),
            chain=chain,
            version=destined.version,
            session=session,
        )
        if event_of is None and destined.streams:
            stream = WebStream(exchange, _web_request(way, request), self._invoker.stream_lines(request_id))
            await self._pass_through(call_of(b"", stream=stream), stream, exchange)
            return
        body = body_if_here(exchange)
        if body is None:
            body = await self._invoker.read_event(way.target, exchange)
        if event_of is not None:
            await self._serve_event(call_of(await event_of(body)), way, exchange)
            return
        outcome = await self._invoker.run(call_of(body, http_params=_params(way, request)), exchange)
        rules = _rules(request, way)
        status, headers = (502, []) if outcome.error is not None else response_head(outcome.http_params, rules)
        lines = self._invoker.lines(request_id, way.target, outcome, exchange)
        exchange.send_whole(status, headers, lines, outcome.payload)

    async def _has_gone(self, placement: Placement, called: Target, exchange: Exchange) -> bool:
        """Whether another agent has taken over the call."""
        request = exchange.request
        if head_of(request).invocation_type != async_invoke.ASYNC:
            moving = placement.moves(called, exchange)
            if moving is not None and await moving:
                return True
            if is_handshake(request) and not placement.proven(exchange) and await placement.opens_here(exchange):
                return True
        settle(exchange)
        return False

    async def serve_websocket(self, request_id: str, way: Way, websocket: WebSocket) -> None:
        """Passes a websocket through to a function that is a web server. Raises as `serve` until it is accepted."""
        request, called = websocket.request, way.target
        if websocket.drawn:
            called = Target(called.service, websocket.drawn, called.function)
        if self._placement is not None:
            self._placement.came(called, moved=websocket.moves > 0)
        trigger = self._triggers.of(way.target, on_domain=way.on_domain).config
        if request.method not in trigger.methods:
            raise not_allowed(request.method, trigger.methods)
        chain, way = await self._admission.of_websocket(trigger, way, websocket)
        session = await self._invoker.session_of(way.target, request)
        key, named = (None, []) if session is None else (session.key, session.headers)
        destined = self._invoker.destined(called, key)
        if not destined.streams:
            raise ApiError(403, "AccessDenied", "websockets pass through to functions of custom runtimes only")
        headers = [*self._invoker.stream_headers(request_id), *named]
        stream = Handshake(websocket, _web_request(way, request), headers)
        tracing = tracing_of(head_of(request))
        call = Invocation(
            request_id,
            way.target,
            b"",
            tracing=tracing,
            chain=chain,
            stream=stream,
            version=destined.version,
            session=key,
        )
        outcome = await self._invoker.invoke(call)
        if outcome.error is not None:
            await stream.fail(outcome)

    async def _pass_through(self, call: Invocation, stream: WebStream, exchange: Exchange) -> None:
        outcome = await self._invoker.run(call, exchange)
        if stream.complete:
            return
        if exchange.begun:
            # All that is left is to abort the connection, so that the client sees that the response is incomplete.
            raise Disconnected
        if stream.refusal is not None:
            raise stream.refusal
        lines = self._invoker.lines(call.request_id, call.target, outcome, exchange)
        exchange.send_whole(502, [], lines, outcome.payload)

    async def _serve_event(self, call: Invocation, way: Way, exchange: Exchange) -> None:
        """Invokes a function that takes an event. Its errors appear in its log and are not shown to the client."""
        outcome = await self._invoker.run(call, exchange)
        lines = self._invoker.lines(call.request_id, call.target, outcome, exchange)
        if outcome.error is not None:
            exchange.send_whole(502, [], lines, _HIDDEN)
            return
        found = await http_events.response(outcome.payload)
        head = {"status": found.status, "headers": found.headers}
        status, headers = response_head(head, _rules(exchange.request, way))
        exchange.send_whole(status, headers, lines, found.body)

    def _event_maker(self, request_id: str, way: Way, entry: HttpEntry, request: Request) -> EventOf:
        """Returns a function that builds the event once the request's body has been read."""
        seen = http_events.Seen(
            method=request.method,
            path=way.path,
            raw_path=way.raw_path.decode("latin-1"),
            query=way.query.decode("latin-1"),
            headers=tuple((name, value) for name, value in _passed_on(way, request)),
            protocol=f"HTTP/{request.http_version}",
            client_ip=str(request.client[0]),
        )
        origin = http_events.Origin(
            account_id=self._account_id,
            trigger_id=entry.trigger_id,
            request_id=request_id,
            host=host_of(request),
            at=self._wall_clock(),
        )
        return lambda body: http_events.event(seen, body, origin)


def _rules(request: Request, way: Way) -> ResponseRules:
    return ResponseRules(request.method, way.attachment, own_cors=not way.cors.allow_origins)


def _web_request(way: Way, request: Request) -> WebRequest:
    """The request for a function's web server: without hop-by-hop and reserved headers."""
    return _remembered(_SEEN, way, request, _read_web_request)


def _remembered(name: str, way: Way, request: Request, read: Callable[[Way, Request], T]) -> T:
    """Caches what is derived from a request and its way, for requests that repeat the head."""
    memory = head_of(request).memory
    cached: tuple[Way, T] | None = memory.get(name)
    if cached is None or cached[0] != way:
        cached = memory[name] = way, read(way, request)
    return cached[1]


def _read_web_request(way: Way, request: Request) -> WebRequest:
    hop = _NOT_PASSED_ON | named_by_connection(request.headers)
    passed = [
        header
        for header in callers_own(way, request.headers)
        # A WSGI server in the function may read an underscore as a hyphen.
        if header[0] not in hop and not header[0].replace(b"_", b"-").startswith(b"x-fc-")
    ]
    headers = with_sender(passed, str(request.client[0]), request.scheme)
    headers += [*way.given, (_BASE_PATH.encode(), way.base_path.encode("latin-1"))]
    target = way.raw_path + (b"?" + way.query if way.query else b"")
    return WebRequest(request.method, target, tuple(headers), way.attachment, own_cors=not way.cors.allow_origins)


def _params(way: Way, request: Request) -> dict[str, object]:
    """See docs/wire-protocol.md; the request URI is the original one, before any rewriting."""
    return _remembered(_PARAMS, way, request, _read_params)


def _read_params(way: Way, request: Request) -> dict[str, object]:
    query: bytes = request.query if way.asked_query is None else way.asked_query
    headers = [*_passed_on(way, request), [_BASE_PATH, way.base_path]]
    if request.scheme == "https":
        # This server terminates TLS, so it sets the header. Otherwise the header stays: a proxy in front may terminate
        # TLS.
        headers = [header for header in headers if header[0] != _FORWARDED_PROTO]
        headers.append([_FORWARDED_PROTO, "https"])
    return {
        "method": request.method,
        **_path(way.path),
        "query": way.query.decode("latin-1"),
        "request_uri": (request.raw_path + (b"?" + query if query else b"")).decode("latin-1"),
        "client_ip": request.client[0],
        "scheme": request.scheme,
        "headers": headers,
    }


def _passed_on(way: Way, request: Request) -> list[list[str]]:
    """The request headers that functions see."""
    hop = _NOT_PASSED_ON | named_by_connection(request.headers)
    passed = [
        [name.decode("latin-1"), value.decode("latin-1")]
        for name, value in callers_own(way, request.headers)
        if name not in hop and not name.startswith(b"x-fc-") and b"_" not in name
    ]
    return [*passed, *([name.decode("latin-1"), value.decode("latin-1")] for name, value in way.given)]


def _path(path: str) -> dict[str, object]:
    """The path as text and, if it is not valid UTF-8, as raw bytes: JSON has no lone surrogates."""
    try:
        path.encode()
    except UnicodeEncodeError:
        raw = path.encode("utf-8", "surrogateescape")
        return {"path": raw.decode("utf-8", "replace"), "raw_path": raw.decode("latin-1")}
    return {"path": path}
