"""One HTTP connection: uvicorn's protocol, with the steps of every request made short (docs/adr/0002).

Used by `fc.server`. Keep-alive, pipelining, back-pressure, `Expect` and upgrades are uvicorn's.
Never decides what an answer says, save for what is no HTTP.
"""

import asyncio
from collections import deque
from typing import Any
from urllib.parse import unquote

import httptools
import msgspec
from starlette.types import ASGIApp, Scope
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from sesame.fc.headers import new_request_id
from sesame.fc.http_exchange import HANG_UP, Exchange
from sesame.fc.known_head import KnownHead, learn
from sesame.fc.refusals import Failure
from sesame.write_batching import shared

HEAD_BYTES_MAX = 256 * 1024
WEBSOCKET_KEY_CHARS = 24
WEBSOCKET_HEADERS_MAX = 100
WEBSOCKET_LINE_BYTES = 8000

# Requests of a connection that are read before their turn.
PIPELINED_MAX = 8
# Answers of more requests than this do not come closer together.
TURNS_MAX = 16

_outbox = shared(TURNS_MAX)


class Connection(HttpToolsProtocol):
    """Answers what is no HTTP in the door's form, bounds the size of a request's head, and keeps the case of names."""

    _head_open = False
    _head_bytes = 0
    # Whether the parser is in the middle of a request.
    _in_request = False
    _known: KnownHead | None = None
    _idle_check: asyncio.TimerHandle | None = None
    _idle_since = 0.0
    # The exchange that is being answered; `cycle` is the one that is being read, which may wait behind it.
    _running: Exchange | None = None
    cycle: Exchange  # type: ignore[assignment]
    pipeline: deque[tuple[Exchange, ASGIApp]]  # type: ignore[assignment]
    scope: Scope  # type: ignore[assignment]

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.outbox = _outbox()
        self._same_for_all = {
            "type": "http",
            "asgi": {"version": self.asgi_version, "spec_version": "2.3"},
            "http_version": "1.1",
            "server": self.server,
            "client": self.client,
            "scheme": self.scheme,
            "root_path": "",
        }

    def connection_lost(self, exc: Exception | None) -> None:
        if self._idle_check is not None:
            self._idle_check.cancel()
        self.connections.discard(self)
        for exchange in (self._running, self.cycle):
            if exchange is not None:
                exchange.lose()
        self.flow.resume_writing()
        if exc is None:
            self.transport.close()
        self.parser = None  # type: ignore[assignment]

    def eof_received(self) -> None:
        # The connection closes now, and what is held for one that has closed is for nobody.
        self.outbox.flush()

    def data_received(self, data: bytes) -> None:
        between = not self._in_request
        known = self._known
        if between and known is not None and (body := known.body_of(data)) is not None:
            self._take_whole(known.scope(), body)
            return
        before = self.scope
        # A head may begin behind the end of another request: only what comes for a head already open is counted.
        continued = self._head_open
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserError:
            self.send_400_response("Invalid HTTP request received.")
            return
        except httptools.HttpParserUpgrade:
            if self._should_upgrade():
                self.handle_websocket_upgrade()
            return
        if between and not self._in_request and self.scope is not before:
            self._learn(data)
        elif continued and self._head_open:
            self._head_bytes += len(data)
            if self._head_bytes > HEAD_BYTES_MAX and not self.transport.is_closing():
                self.send_400_response(f"The head of the request exceeds {HEAD_BYTES_MAX} bytes.")

    def on_message_begin(self) -> None:
        self.url = b""
        self.expect_100_continue = False
        self.headers = []
        self.scope = {**self._same_for_all, "headers": self.headers}
        self._head_open = self._in_request = True
        self._head_bytes = 0

    def on_header(self, name: bytes, value: bytes) -> None:
        name = name.lower()
        self.headers.append((name, value))
        if name == b"expect" and value.lower() == b"100-continue":
            self.expect_100_continue = True

    def on_headers_complete(self) -> None:
        self._head_open = False
        parser, scope = self.parser, self.scope
        http_version = parser.get_http_version()
        scope["method"] = parser.get_method().decode("ascii")
        if http_version != "1.1":
            scope["http_version"] = http_version
        if parser.should_upgrade() and self._should_upgrade():
            return
        scope["path"], scope["raw_path"], scope["query_string"] = _parts(self.url)
        if self.expect_100_continue:
            # The leave to go on is written past the outbox.
            self.outbox.flush()
        keep_alive = http_version != "1.0" and parser.should_keep_alive()
        self._begin(Exchange(self, scope, keep_alive=keep_alive, expects_to_be_told=self.expect_100_continue))

    def _begin(self, cycle: Exchange) -> None:
        before, self.cycle = self.cycle, cycle
        cycle.scope[HANG_UP] = cycle
        if before is None or before.response_complete:
            self._start_asgi_task(cycle, self.app)
        else:
            # A request that did not wait for the answer to the one before. To see a client hang up takes reading.
            self.pipeline.appendleft((cycle, self.app))
            if len(self.pipeline) >= PIPELINED_MAX:
                self.flow.pause_reading()

    def on_body(self, body: bytes) -> None:
        if not (self.parser.should_upgrade() and self._should_upgrade()) and not self.cycle.response_complete:
            self.cycle.take(body)

    def on_message_complete(self) -> None:
        self._in_request = False
        if not (self.parser.should_upgrade() and self._should_upgrade()) and not self.cycle.response_complete:
            self.cycle.end()

    def _take_whole(self, scope: Scope, body: bytes) -> None:
        """A request that the parser does not see."""
        cycle = Exchange(self, scope, keep_alive=True, expects_to_be_told=False)
        self._begin(cycle)
        if body:
            cycle.take(body)
        cycle.end()

    def _learn(self, data: bytes) -> None:
        """Of a head that asks for nothing but an answer on a connection that stays."""
        plain = self.cycle.keep_alive and not self.expect_100_continue
        # The scope is of a request that is under way, and holds it.
        self._known = learn(data, {**self.scope, HANG_UP: None}) if plain else None

    def _should_upgrade(self) -> bool:
        """Whatever the websocket's protocol would refuse in a form of its own is left to the door, as plain HTTP."""
        under_way = self.cycle is not None and not self.cycle.response_complete
        return not under_way and super()._should_upgrade() and _can_be_a_websocket(self.scope, self.url)

    def handle_websocket_upgrade(self) -> None:
        if self._idle_check is not None:
            self._idle_check.cancel()
        self.outbox.flush()
        super().handle_websocket_upgrade()

    def _start_asgi_task(self, cycle: Exchange, app: ASGIApp) -> None:  # type: ignore[override]
        self._running = cycle
        cycle.task = self.loop.create_task(cycle.run(app))
        self.tasks.add(cycle.task)

    def on_response_complete(self) -> None:
        if self.pipeline:
            self.outbox.flush()
            super().on_response_complete()
            return
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        # One timer that looks now and then costs a request nothing; one for each request costs it two calls.
        self._idle_since = self.loop.time()
        if self._idle_check is None:
            self._idle_check = self.loop.call_later(self.timeout_keep_alive, self._close_when_idle)

    def shutdown(self) -> None:
        self.outbox.flush()
        super().shutdown()

    def send_400_response(self, msg: str) -> None:
        self.outbox.flush()
        headers, body = getattr(self.app, "malformed", _as_the_api_says_it)(msg)
        lines = {**headers, "Content-Length": str(len(body)), "Connection": "close"}
        head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        self.transport.write(f"HTTP/1.1 400 Bad Request\r\n{head}\r\n".encode() + body)
        self.transport.close()

    def _close_when_idle(self) -> None:
        self._idle_check = None
        busy = self.cycle is not None and not self.cycle.response_complete
        left_s = self._idle_since + self.timeout_keep_alive - self.loop.time()
        if busy or left_s > 0:
            self._idle_check = self.loop.call_later(self.timeout_keep_alive if busy else left_s, self._close_when_idle)
        elif not self.transport.is_closing():
            self.transport.close()


def _can_be_a_websocket(scope: Any, url: bytes) -> bool:
    """RFC 6455 §4.2.1, and the bounds of the library that goes on from here."""
    sent = dict(scope["headers"])
    return (
        scope["method"] == "GET"
        and scope.get("http_version", "1.1") == "1.1"
        and sent.get(b"sec-websocket-version") == b"13"
        and len(sent.get(b"sec-websocket-key", b"")) == WEBSOCKET_KEY_CHARS
        and len(scope["headers"]) <= WEBSOCKET_HEADERS_MAX
        and max(len(url), *map(sum, ((len(n), len(v)) for n, v in scope["headers"]))) <= WEBSOCKET_LINE_BYTES
        and url.isascii()
    )


def _as_the_api_says_it(message: str) -> tuple[dict[str, str], bytes]:
    """Function Compute's form; a door that has another says it with a method `malformed` of this shape."""
    headers = {"X-Fc-Request-Id": new_request_id(), "Content-Type": "application/json"}
    return headers, msgspec.json.encode(Failure("InvalidArgument", message))


def _parts(url: bytes) -> tuple[str, bytes, bytes]:
    """The path decoded, and path and query as sent."""
    if url.startswith(b"/") and b"#" not in url:
        raw_path, _mark, query = url.partition(b"?")
    else:
        parsed = httptools.parse_url(url)
        raw_path, query = parsed.path or b"/", parsed.query or b""
    path = raw_path.decode("ascii")
    return unquote(path) if "%" in path else path, raw_path, query
