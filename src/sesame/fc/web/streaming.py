"""The caller's side of a request, or of a websocket, that is passed through to a function's web server.

Created by `web.http_functions`; `sandbox.web` uses them as `model.stream.Stream` and `Messages`.
"""

import asyncio
import contextlib
from typing import NoReturn

import msgspec

from sesame.fc.body import BodyPieces, body_if_here
from sesame.fc.headers import CONTENT_TYPE, Headers
from sesame.fc.refusals import ApiError
from sesame.fc.web.response_heads import ResponseRules, relayed_head
from sesame.http.interface import Answer, Disconnected, Exchange, WebSocket
from sesame.model.invocation import Outcome
from sesame.model.stream import Headers as AnyHeaders

INTERNAL_ERROR = 1011
_REFUSED_BYTES_MAX = 64 * 1024


class WebRequest(msgspec.Struct, frozen=True):
    """The request for the function's web server. `attachment` and `own_cors` are those of `ResponseRules`."""

    method: str
    target: bytes
    headers: tuple[tuple[bytes, bytes], ...]
    attachment: bool
    own_cors: bool = True


class WebStream:
    """A `model.stream.Stream`. `refusal` is why request or response could not be passed on, if so."""

    messages = None

    def __init__(self, exchange: Exchange, request: WebRequest, lines: bytes) -> None:
        """`lines` are formatted header lines for the response. Raises `SignatureNotMatch` like `body_if_here`."""
        self._here = body_if_here(exchange)
        self._exchange = exchange
        self._request = request
        self._lines = lines
        self._pieces: BodyPieces | None = None
        self.refusal: ApiError | None = None
        self.complete = False

    @property
    def method(self) -> str:
        return self._request.method

    @property
    def target(self) -> bytes:
        return self._request.target

    @property
    def headers(self) -> AnyHeaders:
        return self._request.headers

    @property
    def length(self) -> int | None:
        length = 0
        for name, value in self._exchange.request.headers:
            if name == b"transfer-encoding":
                return None
            if name == b"content-length":
                length = int(value)
        return length

    def whole_body(self) -> bytes | None:
        return self._here

    async def receive(self) -> bytes:
        if self._pieces is None:
            self._pieces = BodyPieces(self._exchange)
        try:
            return await self._pieces.receive()
        except Disconnected:
            await self._canceled()
        except ApiError as error:
            # The body is not the signed one.
            self.refusal = error
            raise

    def begin(self, status: int, headers: AnyHeaders) -> None:
        rules = ResponseRules(self.method, self._request.attachment, streamed=True, own_cors=self._request.own_cors)
        try:
            status, sent = relayed_head(status, headers, rules)
        except ApiError as error:
            self.refusal = error
            raise ValueError(str(error)) from error
        self._exchange.begin(status, sent, self._lines)

    async def send(self, piece: bytes, *, last: bool) -> None:
        try:
            await self._exchange.send(piece, last=last)
        except Disconnected:
            await self._canceled()
        self.complete = last

    async def _canceled(self) -> NoReturn:
        """The client has disconnected, so the call is being cancelled (`http.disconnects`): waits for that."""
        await asyncio.get_running_loop().create_future()
        raise AssertionError


class WebMessages:
    """A `model.stream.Messages`."""

    def __init__(self, websocket: WebSocket, ours: Headers) -> None:
        self._websocket = websocket
        self._ours = ours

    def accept(self, headers: AnyHeaders) -> None:
        self._websocket.accept([*headers, *self._ours])

    async def receive(self) -> str | bytes | None:
        try:
            return await self._websocket.receive()
        except Disconnected:
            return None

    async def send(self, message: str | bytes) -> None:
        # Drop messages that the caller no longer accepts: `receive` reports that it has disconnected.
        with contextlib.suppress(Disconnected):
            await self._websocket.send(message)

    async def close(self, code: int, reason: str) -> None:
        with contextlib.suppress(Disconnected):
            await self._websocket.close(code, reason)


class Handshake:
    """The `model.stream.Stream` of a websocket request. A server may refuse it with an ordinary response."""

    method = "GET"
    length = 0

    def __init__(self, websocket: WebSocket, request: WebRequest, ours: Headers) -> None:
        """`ours` are headers of the response to the handshake."""
        self._websocket = websocket
        self._request = request
        self._ours = ours
        self._status = 0
        self._headers: AnyHeaders = ()
        self._body = bytearray()
        self.messages = WebMessages(websocket, ours)

    @property
    def target(self) -> bytes:
        return self._request.target

    @property
    def headers(self) -> AnyHeaders:
        return self._request.headers

    def whole_body(self) -> bytes:
        return b""

    async def receive(self) -> bytes:
        return b""

    def begin(self, status: int, headers: AnyHeaders) -> None:
        try:
            self._status, self._headers = relayed_head(status, headers, ResponseRules(self.method, attachment=False))
        except ApiError as error:
            raise ValueError(str(error)) from error

    async def send(self, piece: bytes, *, last: bool) -> None:
        self._body += piece
        del self._body[_REFUSED_BYTES_MAX:]
        if last:
            self._websocket.refuse(Answer(self._status, [*self._headers, *self._ours], bytes(self._body)))

    async def fail(self, outcome: Outcome) -> None:
        """Called when the function has not completed the call."""
        if self._websocket.accepted:
            await self.messages.close(INTERNAL_ERROR, "the function failed")
        elif not self._status:
            headers = [*self._ours, (CONTENT_TYPE, b"application/json")]
            self._websocket.refuse(Answer(502, headers, outcome.payload))
