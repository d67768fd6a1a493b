"""One HTTP connection: uvicorn's protocol, with the steps of every request made short (docs/adr/0002).

Used by `gateway.server`. Keep-alive, pipelining, back-pressure, `Expect` and upgrades are uvicorn's.
Never decides what an answer says, save for what is no HTTP.
"""

import asyncio
from collections.abc import Sized
from typing import Any
from urllib.parse import unquote

import httptools
import msgspec
from starlette.types import Message
from uvicorn._types import ASGI3Application
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from sesame.gateway.answers import Failure
from sesame.gateway.headers import new_request_id
from sesame.outbox import Outbox, shared

HEAD_BYTES_MAX = 256 * 1024
# Up to here the head and the first piece of a body are joined, so that they leave in one system call.
JOIN_BYTES = 64 * 1024
WEBSOCKET_KEY_CHARS = 24
WEBSOCKET_HEADERS_MAX = 100
WEBSOCKET_LINE_BYTES = 8000

# Answers of more requests than this do not come closer together.
TURNS_MAX = 16

_outbox = shared(TURNS_MAX)
# As applications spell them.
_FRAMING = frozenset({b"Content-Length", b"content-length", b"Transfer-Encoding", b"transfer-encoding"})
_BODILESS = frozenset({204, 304})


class Protocol(HttpToolsProtocol):
    """Answers what is no HTTP in the door's form, bounds the size of a request's head, and keeps the case of names."""

    _head_open = False
    _head_bytes = 0
    _idle_check: asyncio.TimerHandle | None = None
    _idle_since = 0.0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._outbox = _outbox()
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
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        # A head may begin behind the end of another request: only what comes for a head already open is counted.
        continued = self._head_open
        super().data_received(data)
        if continued and self._head_open:
            self._head_bytes += len(data)
            if self._head_bytes > HEAD_BYTES_MAX and not self.transport.is_closing():
                self.send_400_response(f"The head of the request exceeds {HEAD_BYTES_MAX} bytes.")

    def on_message_begin(self) -> None:
        self.url = b""
        self.expect_100_continue = False
        self.headers = []
        self.scope = {**self._same_for_all, "headers": self.headers}  # type: ignore[typeddict-item]
        self._head_open = True
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
        raw_path, query = _parts(self.url)
        scope["path"] = _decoded(raw_path)
        scope["raw_path"] = raw_path
        scope["query_string"] = query
        if self.expect_100_continue:
            # Uvicorn writes its leave to go on past the outbox.
            self._outbox.flush()
        before = self.cycle
        self.cycle = Exchange(
            self._outbox,
            self.tasks,
            scope=scope,
            transport=self.transport,
            flow=self.flow,
            logger=self.logger,
            access_logger=self.access_logger,
            access_log=False,
            default_headers=[],
            message_event=asyncio.Event(),
            expect_100_continue=self.expect_100_continue,
            keep_alive=http_version != "1.0" and parser.should_keep_alive(),
            on_response=self.on_response_complete,
        )
        if before is None or before.response_complete:
            self._start_asgi_task(self.cycle, self.app)
        else:
            # A request that did not wait for the answer to the one before.
            self.flow.pause_reading()
            self.pipeline.appendleft((self.cycle, self.app))

    def _should_upgrade(self) -> bool:
        """Whatever the websocket's protocol would refuse in a form of its own is left to the door, as plain HTTP."""
        under_way = self.cycle is not None and not self.cycle.response_complete
        return not under_way and super()._should_upgrade() and _can_be_a_websocket(self.scope, self.url)

    def handle_websocket_upgrade(self) -> None:
        if self._idle_check is not None:
            self._idle_check.cancel()
        self._outbox.flush()
        super().handle_websocket_upgrade()

    def _start_asgi_task(self, cycle: "Exchange", app: ASGI3Application) -> None:  # type: ignore[override]
        cycle.task = self.loop.create_task(self._run(cycle, app))
        self.tasks.add(cycle.task)

    async def _run(self, cycle: "Exchange", app: ASGI3Application) -> None:
        try:
            await cycle.run_asgi(app)
        finally:
            # A callback of the task would take a turn of the loop for it.
            self.tasks.discard(cycle.task)

    def on_response_complete(self) -> None:
        if self.pipeline:
            self._outbox.flush()
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
        self._outbox.flush()
        super().shutdown()

    def send_400_response(self, msg: str) -> None:
        self._outbox.flush()
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


class Exchange(RequestResponseCycle):
    """One request and its answer. The head of the answer leaves with the first piece of its body."""

    task: asyncio.Task[None]
    _held = b""

    def __init__(self, outbox: Outbox, under_way: Sized, **of_uvicorn: Any) -> None:
        super().__init__(**of_uvicorn)
        self._outbox = outbox
        self._under_way = under_way

    async def send(self, message: Message) -> None:  # type: ignore[override]
        """ASGI's `send`. Raises `RuntimeError` for an application that breaks its order or its own Content-Length."""
        if self.flow.write_paused and not self.disconnected:
            await self.flow.drain()
        if self.disconnected:
            return
        if not self.response_started:
            _expect("http.response.start", message)
            self._held = self._head(message["status"], message["headers"])
            self.response_started = True
            self.waiting_for_100_continue = False
            return
        if self.response_complete:
            raise RuntimeError(f"{message['type']!r} was sent after the end of the answer")
        _expect("http.response.body", message)
        more = message.get("more_body", False)
        piece, self._held = self._join(self._held, self._framed(message.get("body", b""), last=not more)), b""
        if piece:
            self._write(piece, last=not more)
        if not more:
            self._complete()

    def _head(self, status: int, headers: list[tuple[bytes, bytes]]) -> bytes:
        for name, value in headers:
            if name in _FRAMING:
                self._take_framing(name.lower(), value)
        more = b"" if self.keep_alive else b"Connection: close\r\n"
        if self._bodiless or status in _BODILESS:
            self.expected_content_length = 0
            self.chunked_encoding = False
        elif self.chunked_encoding is None:
            self.chunked_encoding = True
            more += b"Transfer-Encoding: chunked\r\n"
        lines = b"".join([b"%b: %b\r\n" % header for header in headers])
        if lines.count(b"\n") != len(headers) or lines.count(b"\r") != len(headers) or b"\0" in lines:
            raise RuntimeError("a header has characters that no header may have")
        return b"%b%b%b\r\n" % (STATUS_LINE[status], lines, more)

    def _take_framing(self, name: bytes, value: bytes) -> None:
        if name == b"content-length" and not self.chunked_encoding:
            self.expected_content_length = int(value)
            self.chunked_encoding = False
        elif name == b"transfer-encoding" and value.lower() == b"chunked":
            self.expected_content_length = 0
            self.chunked_encoding = True

    @property
    def _bodiless(self) -> bool:
        return self.scope["method"] == "HEAD"

    def _framed(self, body: bytes, *, last: bool) -> bytes:
        if self._bodiless:
            return b""
        if self.chunked_encoding:
            chunk = b"%x\r\n%b\r\n" % (len(body), body) if body else b""
            return chunk + b"0\r\n\r\n" if last else chunk
        self.expected_content_length -= len(body)
        if self.expected_content_length < 0:
            raise RuntimeError("the answer is longer than its Content-Length")
        return body

    def _join(self, head: bytes, piece: bytes) -> bytes:
        """What is left to write: both, or the piece where the head went ahead of it uncopied."""
        if not head:
            return piece
        if len(piece) <= JOIN_BYTES:
            return head + piece
        self._write(head, last=False)
        return piece

    def _write(self, data: bytes, *, last: bool) -> None:
        """A small end of an answer may wait for others of its kind; before all else goes what has waited."""
        if last and self.keep_alive and len(data) <= JOIN_BYTES:
            self._outbox.write(self.transport, data, others=len(self._under_way) - 1)
        else:
            self._outbox.flush()
            self.transport.write(data)

    def _complete(self) -> None:
        if self.expected_content_length != 0:
            raise RuntimeError("the answer is shorter than its Content-Length")
        self.response_complete = True
        self.message_event.set()
        if not self.keep_alive:
            self.transport.close()
        self.on_response()


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


def _expect(kind: str, message: Message) -> None:
    if message["type"] != kind:
        raise RuntimeError(f"expected {kind!r}, found {message['type']!r}")


def _parts(url: bytes) -> tuple[bytes, bytes]:
    """Path and query, both as sent."""
    if url.startswith(b"/") and b"#" not in url:
        raw_path, _mark, query = url.partition(b"?")
        return raw_path, query
    parsed = httptools.parse_url(url)
    return parsed.path or b"/", parsed.query or b""


def _decoded(raw_path: bytes) -> str:
    path = raw_path.decode("ascii")
    return unquote(path) if "%" in path else path
