"""The official fakes of `http.interface`: requests and websockets without a connection, whose answers are kept."""

import asyncio
from collections.abc import Callable
from typing import Any, Protocol

from sesame.http.framing import header_lines
from sesame.http.interface import Answer, BodyTooLarge, Disconnected, Headers, WebSocket
from sesame.http.request import Request
from sesame.http.status import BODILESS


class FakeExchange:
    """The body arrives in these chunks; after them the client waits for its answer, or `leaves`."""

    def __init__(self, request: Request, chunks: list[bytes] | None = None, *, leaves: bool = False) -> None:
        self.request = request
        self.begun = self.complete = False
        self.status = 0
        # Header lines and body of the answer, as they would be sent.
        self.lines = self.body = b""
        self.read = 0
        self._chunks = list(chunks or [])
        self._leaves = leaves
        self._added = b""
        self._callback: Callable[[], None] | None = None
        self._cancelled = False
        self._task: asyncio.Task[object] | None = asyncio.current_task()

    def age_ms(self) -> float:
        return 100.0

    @property
    def body_read(self) -> bool:
        return not self._chunks and not self._leaves

    def body_if_here(self) -> bytes | None:
        here = sum(map(len, self._chunks))
        if len(self._chunks) > 1 or self._leaves or self._announced() not in (None, here):
            return None
        self.read += 1
        return self._chunks.pop() if self._chunks else b""

    def _announced(self) -> int | None:
        length = self.request.header(b"content-length")
        return None if length is None else int(length)

    async def receive(self) -> bytes:
        self.read += 1
        if self._chunks:
            return self._chunks.pop(0) or await self.receive()
        if self._leaves:
            raise Disconnected
        return b""

    async def read_body(self, limit_bytes: int) -> bytes:
        if (self._announced() or 0) > limit_bytes:
            raise BodyTooLarge(limit_bytes)
        body = b""
        while piece := await self.receive():
            body += piece
            if len(body) > limit_bytes:
                raise BodyTooLarge(limit_bytes)
        return body

    def add_headers(self, headers: Headers) -> None:
        self._added += header_lines(headers)

    def send_whole(self, status: int, headers: Headers, lines: bytes, body: bytes) -> None:
        self.begin(status, headers, lines)
        if status not in BODILESS and (body or self.request.method != "HEAD"):
            self.lines += b"Content-Length: %d\r\n" % len(body)
            self.body = body
        self.complete = True

    def begin(self, status: int, headers: Headers, lines: bytes = b"") -> None:
        assert not self.begun
        self.begun = True
        self.status = status
        self.lines = lines + header_lines(headers) + self._added

    async def send(self, piece: bytes, *, last: bool = False) -> None:
        assert self.begun
        assert not self.complete
        self.body += piece
        self.complete = last

    def on_disconnect(self, callback: Callable[[], None] | None) -> None:
        self._callback = callback

    def cancel(self) -> None:
        self._cancelled = True
        assert self._task is not None
        self._task.cancel()

    def uncancel(self) -> bool:
        was, self._cancelled = self._cancelled, False
        return was

    async def gone(self) -> None:
        if not self._leaves:
            await asyncio.Event().wait()


class WebSocketEndpoint(Protocol):
    async def serve_websocket(self, websocket: WebSocket) -> None: ...


class FakeWebSocket:
    """A websocket and its other end: `next` gives what the endpoint said next.

    A refusal is an `Answer`, the acceptance the set of its headers' names, a close its code and reason.
    """

    task: "asyncio.Task[None]"

    def __init__(self, request: Request) -> None:
        self.request = request
        self.accepted = self.proven = False
        self.moves, self.drawn = 0, ""
        self._sent: asyncio.Queue[str | None] = asyncio.Queue()
        self._said: asyncio.Queue[Any] = asyncio.Queue()

    def serve(self, endpoint: WebSocketEndpoint) -> None:
        self.task = asyncio.create_task(endpoint.serve_websocket(self))

    async def next(self) -> Any:
        return await asyncio.wait_for(self._said.get(), 30)

    def say(self, text: str) -> None:
        self._sent.put_nowait(text)

    def leave(self) -> None:
        self._sent.put_nowait(None)

    def refuse(self, answer: Answer) -> None:
        self._said.put_nowait(answer)

    def accept(self, headers: Headers) -> None:
        self.accepted = True
        self._said.put_nowait({name for name, _value in headers})

    async def receive(self) -> str | bytes:
        message = await self._sent.get()
        if message is None:
            raise Disconnected
        return message

    async def send(self, message: str | bytes) -> None:
        self._said.put_nowait(message)

    async def close(self, code: int, reason: str) -> None:
        self._said.put_nowait((code, reason))
