"""The interface between an HTTP endpoint and the server, which does not depend on any product.

Implemented by the endpoints (`serve`, `refuse`) and by `http.exchange` and `http.websocket`.
"""

import enum
from collections.abc import Callable, Sequence
from typing import Protocol

import msgspec

from sesame.http.request import Request

Headers = Sequence[tuple[bytes, bytes]]


class Disconnected(Exception):
    """The client has closed its connection, or was too slow: an answer would not arrive."""


class BodyTooLarge(Exception):
    """The body of the request is longer than `limit_bytes`. The part already read is dropped."""

    def __init__(self, limit_bytes: int) -> None:
        super().__init__(f"the body is longer than {limit_bytes} bytes")
        self.limit_bytes = limit_bytes


class TooManyBodies(Exception):
    """The bodies under way at this endpoint leave no memory for this one. The client may try again later."""


class Reason(enum.Enum):
    """Why the server itself refuses a request, with the status defined by RFC 9110 and RFC 6585."""

    MALFORMED = 400
    TIMED_OUT = 408
    HEAD_TOO_LARGE = 431
    NOT_IMPLEMENTED = 501
    OVERLOADED = 503
    VERSION = 505


class Refusal(msgspec.Struct, frozen=True):
    """Why a request never reaches the endpoint. `message` states what was found and what was expected."""

    reason: Reason
    message: str


class Answer(msgspec.Struct, frozen=True):
    """A complete answer. The server adds Content-Length and Connection."""

    status: int
    headers: Headers
    body: bytes = b""


class Endpoint(Protocol):
    """Answers requests. An endpoint with a method `serve_websocket(websocket)` also gets websockets."""

    async def serve(self, exchange: "Exchange") -> None:
        """Answers one request. If it does not answer, or raises, the server answers with a 500."""

    def refuse(self, refusal: Refusal) -> Answer:
        """Formats a refusal by the server."""


class Exchange(Protocol):
    """One request and its answer; may be used by one task at a time, the one that runs `Endpoint.serve`."""

    @property
    def request(self) -> Request: ...

    def age_ms(self) -> float:
        """Milliseconds since the complete head was received."""

    @property
    def begun(self) -> bool:
        """Whether an answer has begun, so that no other can be sent."""

    @property
    def status(self) -> int:
        """The status of the answer that has begun; 0 before."""

    @property
    def body_read(self) -> bool:
        """Whether the whole request body has arrived and has been received by the endpoint."""

    def body_if_here(self) -> bytes | None:
        """The whole body if it is small and arrived with the head; otherwise None, and nothing is consumed."""

    async def receive(self) -> bytes:
        """The next piece of the request's body, b"" at its end. Sends `100 Continue` if the client waits for it.

        Raises `Disconnected`.
        """

    async def read_body(self, limit_bytes: int) -> bytes:
        """The whole body; its memory counts against the endpoint's budget until the request is answered.

        Raises `BodyTooLarge`, before reading if the length was announced, `TooManyBodies` and `Disconnected`.
        """

    def add_headers(self, headers: Headers) -> None:
        """Adds headers to any answer of this request, after the answer's own."""

    def send_whole(self, status: int, headers: Headers, lines: bytes, body: bytes) -> None:
        """Sends the whole answer in one write. `lines` are formatted header lines, without any data from a client.

        Does nothing if the client has disconnected. Raises `RuntimeError` for a malformed header.
        """

    def begin(self, status: int, headers: Headers, lines: bytes = b"") -> None:
        """Starts an answer whose body comes in pieces; the head is sent with the first of them.

        The body is delimited by the Content-Length among the headers, else chunked, else ended by closing the
        connection.
        """

    async def send(self, piece: bytes, *, last: bool = False) -> None:
        """Sends a piece of the answer's body; waits while the client has not read enough of the previous ones.

        Raises `Disconnected`, and `RuntimeError` for an answer that is longer or shorter than its Content-Length.
        """

    def on_disconnect(self, callback: Callable[[], None] | None) -> None:
        """Sets a callback, called once when the client disconnects, or at once if it already has; None removes it."""

    def cancel(self) -> None:
        """Cancels the task that answers; can be used as callback of `on_disconnect`."""

    def uncancel(self) -> bool:
        """Whether only `cancel` has cancelled the task, which may then continue. Returns True at most once."""

    async def gone(self) -> None:
        """Returns when the client has disconnected, or the answer is complete."""


class WebSocket(Protocol):
    """A client's websocket request (RFC 6455), which `serve_websocket` must refuse or accept, once."""

    @property
    def request(self) -> Request: ...

    @property
    def accepted(self) -> bool: ...

    @property
    def proven(self) -> bool:
        """Whether the request's signature was verified before it became a websocket."""

    @property
    def moves(self) -> int:
        """How often it has moved from one process to another."""

    @property
    def drawn(self) -> str:
        """The version drawn for the request before it became a websocket, see `moving.Arrived`."""

    def refuse(self, answer: Answer) -> None:
        """Answers the handshake with an HTTP answer and closes the connection."""

    def accept(self, headers: Headers) -> None: ...

    async def receive(self) -> str | bytes:
        """The next message, text or binary. Raises `Disconnected` when the client has closed its side."""

    async def send(self, message: str | bytes) -> None:
        """Waits while the client has not read enough of the previous messages. Raises `Disconnected`."""

    async def close(self, code: int, reason: str) -> None:
        """Raises `Disconnected`; otherwise idempotent."""
