"""One websocket (RFC 6455), over the sans-I/O protocol of the library `websockets`.

Created by `http.connection`, which hands its transport over; the endpoint sees it as `http.interface.WebSocket`.
"""

import asyncio
from collections import deque
from http import HTTPStatus
from typing import Protocol

from websockets.exceptions import InvalidState
from websockets.frames import Frame, Opcode
from websockets.http11 import Request as LibraryRequest
from websockets.http11 import Response
from websockets.server import ServerProtocol

from sesame.http.framing import BROKEN, closing_answer
from sesame.http.interface import Answer, Disconnected, Headers
from sesame.http.pace import Taking
from sesame.http.request import Request
from sesame.http.shared import Shared, Tracked

INTERNAL_ERROR, GOING_AWAY, SERVICE_RESTART = 1011, 1001, 1012


class Before(Tracked, Protocol):
    """The connection on which the handshake arrived."""

    proven: bool
    moves: int
    drawn: str


class WebSocketConnection(asyncio.Protocol):
    """Tracked by the server both as a connection and as a running request."""

    task: asyncio.Task[None]
    refused = False

    def __init__(self, shared: Shared, request: Request, transport: asyncio.Transport, before: Before) -> None:
        """`before` is the connection that it replaces."""
        self._shared = shared
        self._transport = transport
        self.request = request
        self.peer, self.instance = before.peer, before.instance
        self.proven, self.moves, self.drawn = before.proven, before.moves, before.drawn
        self._protocol = ServerProtocol(max_size=shared.limits.websocket_message_bytes)
        self._response: Response | None = None
        self._messages: deque[str | bytes] = deque()
        self._fragments: list[bytes] = []
        self._is_text = False
        self._news: asyncio.Future[None] | None = None
        self._drained: asyncio.Future[None] | None = None
        self._write_paused = self._read_paused = False
        self.accepted = self._answered = self._gone = False
        # Whether the connection ends once the handshake is answered.
        self._stopping = False
        self._closing_since: float | None = None
        self._pinged_at = shared.now
        self._taking = Taking(transport, shared.limits, shared.unsent)

    def take_over(self, opening: Tracked, rest: bytes) -> None:
        """Replaces `opening` and lets the endpoint answer the handshake; `rest` is the data after its head."""
        self._transport.set_protocol(self)
        self._shared.enter(self, instead_of=opening)
        self._begin(rest)

    def _begin(self, rest: bytes) -> None:
        request = self.request
        query = b"?" + request.query if request.query else b""
        head = [b"GET %b%b HTTP/1.1\r\n" % (request.raw_path, query)]
        head += [b"%b: %b\r\n" % header for header in request.headers]
        self._protocol.receive_data(b"".join([*head, b"\r\n"]))
        for event in self._protocol.events_received():
            if isinstance(event, LibraryRequest):
                self._response = self._protocol.accept(event)
        if self._response is None or self._response.status_code != HTTPStatus.SWITCHING_PROTOCOLS:
            # Handshakes that the library would refuse went to the endpoint as plain HTTP (`http.head_checks`).
            self._transport.close()
            return
        self._shared.running.add(self)
        self.task = self._shared.loop.create_task(self._run())
        if rest:
            self.data_received(rest)

    async def _run(self) -> None:
        serve = self._shared.serve_websocket
        assert serve is not None
        try:
            await serve(self)
            if not self._answered:
                self._shared.log.error("an endpoint did not answer a websocket", path=self.request.path)
                self._fail()
        except Disconnected:
            pass
        except Exception as error:
            self._shared.log.error("an endpoint failed", path=self.request.path, exc_info=error)
            self._fail()
        finally:
            if self._closing_since is None:
                self._transport.close()
            self._shared.ended(self)

    def _fail(self) -> None:
        if not self._answered:
            self.refuse(BROKEN)
        elif not self._gone:
            self._protocol.fail(INTERNAL_ERROR, "internal error")
            self._flush()

    # For the endpoint.

    def refuse(self, answer: Answer) -> None:
        if self._answered:
            raise RuntimeError("a second answer to one handshake")
        self._answered = True
        if self._gone:
            return
        self._write(closing_answer(answer))
        self._transport.close()

    def accept(self, headers: Headers) -> None:
        if self._answered:
            raise RuntimeError("a second answer to one handshake")
        self._answered = True
        response = self._response
        assert response is not None
        if "Date" in response.headers:
            del response.headers["Date"]
        for name, value in headers:
            response.headers[name.decode("latin-1")] = value.decode("latin-1")
        self.accepted = True
        if not self._gone:
            self._protocol.send_response(response)
            self._flush()
        if self._stopping:
            self.stop()

    async def receive(self) -> str | bytes:
        while not self._messages:
            if self._gone:
                raise Disconnected
            if self._read_paused:
                self._read_paused = False
                self._transport.resume_reading()
            self._news = self._shared.loop.create_future()
            await self._news
        return self._messages.popleft()

    async def send(self, message: str | bytes) -> None:
        while self._write_paused and not self._gone:
            if self._drained is None or self._drained.done():
                self._drained = self._shared.loop.create_future()
            await self._drained
        if self._gone:
            raise Disconnected
        try:
            if isinstance(message, str):
                self._protocol.send_text(message.encode())
            else:
                self._protocol.send_binary(message)
        except InvalidState as error:
            raise Disconnected from error
        self._flush()

    async def close(self, code: int, reason: str) -> None:
        if self._closing_since is not None:
            return
        if self._gone:
            raise Disconnected
        try:
            self._protocol.send_close(code, reason)
        except InvalidState as error:
            raise Disconnected from error
        self._closing_since = self._shared.now
        self._flush()
        # Drop what the client sends before its own close.
        self._messages.clear()
        if self._read_paused:
            self._read_paused = False
            self._transport.resume_reading()

    # Called by the event loop.

    def data_received(self, data: bytes) -> None:
        self._protocol.receive_data(data)
        for event in self._protocol.events_received():
            if isinstance(event, Frame):
                self._hear(event)
        self._flush()
        if self._protocol.close_expected():
            self._leave()
            if self._closing_since is None:
                self._closing_since = self._shared.now
            if self._protocol.parser_exc is not None or self._protocol.close_rcvd is not None:
                self._transport.close()

    def _hear(self, frame: Frame) -> None:
        if frame.opcode in (Opcode.TEXT, Opcode.BINARY):
            self._is_text = frame.opcode is Opcode.TEXT
            self._fragments = []
        elif frame.opcode is not Opcode.CONT:
            # The library answers pings and closes itself. If the client does not read the answers, stop reading from
            # it.
            if frame.opcode is Opcode.PING and self._write_paused and not self._read_paused:
                self._read_paused = True
                self._transport.pause_reading()
            return
        self._fragments.append(bytes(frame.data))
        if not frame.fin:
            return
        message = b"".join(self._fragments)
        self._fragments = []
        if self._closing_since is not None:
            return
        if self._is_text:
            try:
                self._messages.append(message.decode())
            except UnicodeDecodeError:
                self._protocol.fail(1007, "a text message that is not UTF-8")
                self._leave()
                return
        else:
            self._messages.append(message)
        if not self._read_paused:
            self._read_paused = True
            self._transport.pause_reading()
        self._wake()

    def eof_received(self) -> None:
        # The client has closed its side; buffered data that it does not read could delay the end indefinitely.
        if self._transport.get_write_buffer_size():
            self._transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self._shared.leave(self)
        self._leave()

    def pause_writing(self) -> None:
        self._write_paused = True

    def resume_writing(self) -> None:
        self._write_paused = False
        if self._drained is not None and not self._drained.done():
            self._drained.set_result(None)
        if self._read_paused and not (self._messages or self._gone):
            self._read_paused = False
            self._transport.resume_reading()

    def _leave(self) -> None:
        self._gone = True
        self._wake()
        self.resume_writing()

    def _wake(self) -> None:
        if self._news is not None and not self._news.done():
            self._news.set_result(None)

    def _flush(self) -> None:
        # An empty piece means the end of the stream, which `close` handles.
        data = b"".join(self._protocol.data_to_send())
        if data:
            self._write(data)

    def _write(self, data: bytes) -> None:
        self._taking.write(data)

    # Called by the server.

    @property
    def waits_since(self) -> float | None:
        return None

    def tick(self, now: float, passed_s: float) -> None:
        limits = self._shared.limits
        closes_late = self._closing_since is not None and now - self._closing_since > limits.websocket_close_s
        if self._taking.too_slow(self._transport.get_write_buffer_size(), passed_s) or closes_late:
            self.abort()
        elif self.accepted and not self._gone and now - self._pinged_at >= limits.websocket_ping_s:
            # Keeps proxies from closing a silent connection, and detects clients that have vanished. One official
            # client answers a ping with another ping instead of a pong, so the answer is not awaited.
            self._pinged_at = now
            self._protocol.send_ping(b"")
            self._flush()

    def finish(self) -> None:
        self.stop()

    def stop(self) -> None:
        if not self._answered:
            # Let the endpoint answer, as for any other request under way.
            self._stopping = True
            return
        if self.accepted and self._closing_since is None and not self._gone:
            self._protocol.send_close(SERVICE_RESTART)
            self._flush()
        self._leave()
        self._transport.close()

    def abort(self) -> None:
        self._shared.leave(self)
        self._transport.abort()
