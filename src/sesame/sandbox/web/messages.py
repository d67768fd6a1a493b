"""Passes a websocket through to a function's web server: the handshake, then messages in both directions.

Used by `web.streams`. Uses the library `websockets` for the client's side of RFC 6455.
"""

import asyncio
import contextlib
from collections import deque

from websockets.exceptions import InvalidState
from websockets.frames import Frame, Opcode
from websockets.protocol import Protocol, Side
from websockets.protocol import State as ProtocolState

from sesame.model.relaying import named_by_connection
from sesame.model.stream import Messages
from sesame.sandbox.interface import Call, Reply
from sesame.sandbox.web.answers import answer
from sesame.sandbox.web.connection import BadResponse, Connection
from sesame.sandbox.web.heads import Heads, WebRequest

MESSAGE_BYTES_MAX = 16 * 1024 * 1024
NORMAL, GOING_AWAY, NO_STATUS, NOT_UTF_8 = 1000, 1001, 1005, 1007
# How long a function may take to close after its caller has disconnected.
CLOSE_S = 10.0
_UPGRADE = b"Connection: Upgrade\r\nUpgrade: websocket\r\n"
# Headers that the endpoint sets itself when it accepts the caller's handshake; extensions are negotiated per hop.
_NOT_PASSED_BACK = frozenset({
    b"connection", b"upgrade", b"sec-websocket-accept", b"sec-websocket-extensions", b"content-length", b"date",
    b"server", b"transfer-encoding", b"keep-alive",
})  # fmt: skip


async def pass_messages(connection: Connection, heads: Heads, call: Call, messages: Messages) -> Reply:
    """Returns when either side has closed the websocket, or the server has refused it with an ordinary response."""
    stream = call.stream
    assert stream is not None
    headers = tuple(header for header in stream.headers if header[0] != b"sec-websocket-extensions")
    request = WebRequest(b"GET", stream.target, headers, 0)
    connection.begin(b"GET", heads.of_request(request, call.request_id, call.meta, upgrade=_UPGRADE))
    response = await connection.head()
    if not response.upgraded:
        return await answer(connection, stream)
    hop = _NOT_PASSED_BACK | named_by_connection(response.headers)
    messages.accept([header for header in response.headers if header[0].lower() not in hop])
    server = _Server(connection)
    to_server = asyncio.get_running_loop().create_task(_to_server(server, messages))
    try:
        await _to_caller(server, messages)
    finally:
        to_server.cancel()
        # A failure shows up in the reading direction, or no longer matters.
        with contextlib.suppress(asyncio.CancelledError, BadResponse):
            await to_server
        connection.close()
    return Reply(True, b"")


async def _to_server(server: "_Server", messages: Messages) -> None:
    while (message := await messages.receive()) is not None:
        await server.send(message)
    server.close(GOING_AWAY)
    await asyncio.sleep(CLOSE_S)
    server.give_up()


async def _to_caller(server: "_Server", messages: Messages) -> None:
    while (message := await server.receive()) is not None:
        await messages.send(message)
    await messages.close(server.close_code, server.close_reason)


class _Server:
    """The function's side of the websocket, over an upgraded connection."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._protocol = Protocol(Side.CLIENT, state=ProtocolState.OPEN, max_size=MESSAGE_BYTES_MAX)
        self._messages: deque[str | bytes] = deque()
        self._fragments: list[bytes] = []
        self._is_text = False
        self._ended = self._given_up = False
        # The close code for a violation by the function.
        self._broken: int | None = None

    @property
    def close_code(self) -> int:
        """The close code for the caller. A code that must not be sent is replaced by that of a normal end."""
        if self._broken is not None:
            return self._broken
        code = self._protocol.close_rcvd.code if self._protocol.close_rcvd is not None else GOING_AWAY
        return NORMAL if code == NO_STATUS else code

    @property
    def close_reason(self) -> str:
        return self._protocol.close_rcvd.reason if self._protocol.close_rcvd is not None else ""

    async def receive(self) -> str | bytes | None:
        while not self._messages:
            if self._ended:
                return None
            try:
                data = await self._connection.read()
            except BadResponse:
                if self._given_up:
                    return None
                raise
            if data:
                self._protocol.receive_data(data)
            else:
                self._protocol.receive_eof()
                self._ended = True
            for event in self._protocol.events_received():
                if isinstance(event, Frame):
                    self._take(event)
            if self._protocol.parser_exc is not None and self._protocol.close_sent is not None:
                self._break(self._protocol.close_sent.code)
            self._flush()
            # Every ping is answered; if the function does not read the answers, stop reading its messages too.
            with contextlib.suppress(BadResponse):
                await self._connection.drain()
        return self._messages.popleft()

    async def send(self, message: str | bytes) -> None:
        try:
            if isinstance(message, str):
                self._protocol.send_text(message.encode())
            else:
                self._protocol.send_binary(message)
        except InvalidState:
            # The function has begun to close and will not read this message.
            return
        self._flush()
        await self._connection.drain()

    def close(self, code: int) -> None:
        with contextlib.suppress(InvalidState):
            self._protocol.send_close(code)
        self._flush()

    def give_up(self) -> None:
        """The function has not closed in time: read nothing more."""
        self._given_up = True
        self._connection.close()

    def _take(self, frame: Frame) -> None:
        if self._broken is not None:
            return
        if frame.opcode is Opcode.CLOSE:
            self._ended = True
        if frame.opcode not in (Opcode.TEXT, Opcode.BINARY, Opcode.CONT):
            return
        if frame.opcode is not Opcode.CONT:
            self._is_text = frame.opcode is Opcode.TEXT
        self._fragments.append(bytes(frame.data))
        if frame.fin:
            whole = b"".join(self._fragments)
            self._fragments.clear()
            try:
                self._messages.append(whole.decode() if self._is_text else whole)
            except UnicodeDecodeError:
                self.close(NOT_UTF_8)
                self._break(NOT_UTF_8)

    def _break(self, code: int) -> None:
        self._broken, self._ended = code, True

    def _flush(self) -> None:
        for data in self._protocol.data_to_send():
            if data:
                self._connection.write(data)
