"""One request and its answer on a connection: what an application's `receive` and `send` do (docs/adr/0002).

Made by `fc.http_protocol` for each request, which also gives it what comes of the request's body.
Beside ASGI it knows two things of its own: an answer that comes whole in one message, and `HangUp`.
"""

import asyncio
from typing import Any, Protocol

import structlog
from starlette.types import ASGIApp, Message, Scope
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT, FlowControl
from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from sesame.write_batching import Outbox

# Up to here the head and the first piece of a body are joined, so that they leave in one system call.
JOIN_BYTES = 64 * 1024
# Where in the scope a door finds the request's `HangUp`.
HANG_UP = "sesame.hang_up"

# As applications spell them.
_FRAMING = frozenset({b"Content-Length", b"content-length", b"Transfer-Encoding", b"transfer-encoding"})
_BODILESS = frozenset({204, 304})
_BROKEN = {
    "type": "http.response.start",
    "status": 500,
    "headers": [(b"Content-Type", b"text/plain; charset=utf-8")],
    "body": b"Internal Server Error",
}

log = structlog.get_logger("sesame.fc")


class Connection(Protocol):
    """The part of `fc.http_protocol.Connection` that is used here."""

    transport: asyncio.Transport
    flow: FlowControl
    loop: asyncio.AbstractEventLoop
    outbox: Outbox

    @property
    def tasks(self) -> set[asyncio.Task[None]]:
        """Of all exchanges of the door that are being answered."""

    def on_response_complete(self) -> None: ...


class HangUp(Protocol):
    """Cancels the task that answers a request when its client hangs up."""

    def watch(self) -> None:
        """From here on; at once where it has happened already."""

    def unwatch(self) -> bool:
        """No longer. Whether it was this, and nobody else, that cancelled the task: it may go on then."""


class Exchange:
    """Belongs to its connection. The head of the answer leaves with the first piece of its body."""

    __slots__ = (
        "_body",
        "_cancelled",
        "_chunked",
        "_connection",
        "_held",
        "_left",
        "_news",
        "_reader",
        "_started",
        "_to_be_told",
        "_watched",
        "disconnected",
        "keep_alive",
        "more_body",
        "response_complete",
        "scope",
        "task",
    )

    task: asyncio.Task[None]

    def __init__(self, connection: Connection, scope: Scope, *, keep_alive: bool, expects_to_be_told: bool) -> None:
        self._connection = connection
        self.scope = scope
        self.keep_alive = keep_alive
        self.disconnected = False
        self.more_body = True
        self.response_complete = False
        self._to_be_told = expects_to_be_told
        self._body: bytes | bytearray = b""
        self._news = False
        self._reader: asyncio.Future[None] | None = None
        self._watched = self._cancelled = False
        self._started = False
        self._held = b""
        self._chunked: bool | None = None
        # Of a body whose length was said.
        self._left = 0

    async def run(self, app: ASGIApp) -> None:
        """Has the application answer. What it leaves undone ends the connection, after an answer of its own kind."""
        try:
            await app(self.scope, self.receive, self.send)
            if not (self.response_complete or self.disconnected):
                log.error("an application did not answer", path=self.scope["path"])
                await self._break_off()
        except Exception as error:
            log.error("an application broke", path=self.scope["path"], exc_info=error)
            await self._break_off()
        except BaseException:
            # The server stops, and waits no longer.
            self._close()
            raise
        finally:
            # A callback of the task would take a turn of the loop for it.
            self._connection.tasks.discard(self.task)
            # What holds each other is freed late.
            self.scope.pop(HANG_UP, None)

    async def _break_off(self) -> None:
        if self._started or self.disconnected:
            self._close()
        else:
            self.keep_alive = False
            await self.send(_BROKEN)

    def _close(self) -> None:
        """Unless all is said: then the connection is not this exchange's any more."""
        if not self.response_complete:
            self._connection.outbox.flush()
            self._connection.transport.close()

    # What comes: from the connection, and to the application.

    def take(self, body: bytes) -> None:
        """A piece of the request's body."""
        if not self._body:
            self._body = body
        else:
            if isinstance(self._body, bytes):
                self._body = bytearray(self._body)
            self._body += body
        if len(self._body) > HIGH_WATER_LIMIT:
            self._connection.flow.pause_reading()
        self._tell()

    def end(self) -> None:
        """The request's body is whole."""
        self.more_body = False
        self._tell()

    def lose(self) -> None:
        """The client has hung up."""
        if self.response_complete or self.disconnected:
            return
        self.disconnected = True
        if self._watched:
            self._cancel()
        self._tell()

    async def receive(self) -> Message:
        """ASGI's `receive`; for one task at a time."""
        connection = self._connection
        if self._to_be_told and not connection.transport.is_closing():
            connection.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            self._to_be_told = False
        if not (self.disconnected or self.response_complete):
            connection.flow.resume_reading()
            if not self._news:
                if self._reader is None or self._reader.done():
                    self._reader = connection.loop.create_future()
                await self._reader
            self._news = False
        if self.disconnected or self.response_complete:
            return {"type": "http.disconnect"}
        body, self._body = bytes(self._body), b""
        return {"type": "http.request", "body": body, "more_body": self.more_body}

    def _tell(self) -> None:
        self._news = True
        if self._reader is not None and not self._reader.done():
            self._reader.set_result(None)

    def watch(self) -> None:
        self._watched = True
        # The end of the stream is read too; the end of a large body may have paused that.
        self._connection.flow.resume_reading()
        if self.disconnected:
            self._cancel()

    def unwatch(self) -> bool:
        self._watched = False
        was, self._cancelled = self._cancelled, False
        return was and self.task.uncancel() == 0

    def _cancel(self) -> None:
        self._cancelled = True
        self.task.cancel()

    # What goes: from the application to the client.

    async def send(self, message: Message) -> None:
        """ASGI's `send`, where the message that starts an answer may also have `lines`, ready header lines that hold
        nothing a client said, and the whole `body`; its length is said then.

        Raises `RuntimeError` for an application that breaks its order or its own Content-Length.
        """
        flow = self._connection.flow
        if flow.write_paused and not self.disconnected:
            await flow.drain()
        if self.disconnected:
            return
        if not self._started:
            _expect("http.response.start", message)
            self._start(message)
            return
        if self.response_complete:
            raise RuntimeError(f"{message['type']!r} was sent after the end of the answer")
        _expect("http.response.body", message)
        self._send_body(message.get("body", b""), last=not message.get("more_body", False))

    def _start(self, message: Message) -> None:
        status, lines = message["status"], message.get("lines", b"")
        if headers := message.get("headers"):
            lines += self._lines_of(headers)
        if not self.keep_alive:
            lines += b"Connection: close\r\n"
        self._started = True
        self._to_be_told = False
        bodiless = status in _BODILESS
        body: bytes | None = message.get("body")
        if body is not None:
            self._left = 0
            length = b"" if bodiless else b"Content-Length: %d\r\n" % len(body)
            head = b"%b%b%b\r\n" % (STATUS_LINE[status], lines, length)
            self._write(self._join(head, b"" if bodiless or self._asks_for_head else body), last=True)
            self._complete()
            return
        if bodiless or self._asks_for_head:
            self._chunked, self._left = False, 0
        elif self._chunked is None:
            self._chunked = True
            lines += b"Transfer-Encoding: chunked\r\n"
        self._held = b"%b%b\r\n" % (STATUS_LINE[status], lines)

    def _lines_of(self, headers: list[tuple[bytes, bytes]]) -> bytes:
        lines = b"".join([b"%b: %b\r\n" % header for header in headers])
        if lines.count(b"\n") != len(headers) or lines.count(b"\r") != len(headers) or b"\0" in lines:
            raise RuntimeError("a header has characters that no header may have")
        for name, value in headers:
            if name in _FRAMING:
                self._take_framing(name.lower(), value)
        return lines

    def _take_framing(self, name: bytes, value: bytes) -> None:
        if name == b"content-length" and not self._chunked:
            self._left = int(value)
            self._chunked = False
        elif name == b"transfer-encoding" and value.lower() == b"chunked":
            self._left = 0
            self._chunked = True

    @property
    def _asks_for_head(self) -> bool:
        return bool(self.scope["method"] == "HEAD")

    def _send_body(self, body: bytes, *, last: bool) -> None:
        piece, self._held = self._join(self._held, self._framed(body, last=last)), b""
        if piece:
            self._write(piece, last=last)
        if last:
            self._complete()

    def _framed(self, body: bytes, *, last: bool) -> bytes:
        if self._asks_for_head:
            return b""
        if self._chunked:
            chunk = b"%x\r\n%b\r\n" % (len(body), body) if body else b""
            return chunk + b"0\r\n\r\n" if last else chunk
        self._left -= len(body)
        if self._left < 0:
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
        connection = self._connection
        if last and self.keep_alive and len(data) <= JOIN_BYTES:
            connection.outbox.write(connection.transport, data, others=len(connection.tasks) - 1)
        else:
            connection.outbox.flush()
            connection.transport.write(data)

    def _complete(self) -> None:
        if self._left != 0:
            raise RuntimeError("the answer is shorter than its Content-Length")
        self.response_complete = True
        self._tell()
        if not self.keep_alive:
            self._connection.transport.close()
        self._connection.on_response_complete()


def _expect(kind: str, message: Any) -> None:
    if message["type"] != kind:
        raise RuntimeError(f"expected {kind!r}, found {message['type']!r}")
