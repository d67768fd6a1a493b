"""What an HTTP endpoint and the server know of each other; the server knows nothing else of a product.

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
    """The body of the request is longer than `limit_bytes`. What was read of it is dropped."""

    def __init__(self, limit_bytes: int) -> None:
        super().__init__(f"the body is longer than {limit_bytes} bytes")
        self.limit_bytes = limit_bytes


class TooManyBodies(Exception):
    """The bodies under way at this endpoint leave no memory for this one. The client may try again later."""


class Reason(enum.Enum):
    """Why the server itself refuses a request, with the status that RFC 9110 and RFC 6585 give it."""

    MALFORMED = 400
    TIMED_OUT = 408
    HEAD_TOO_LARGE = 431
    NOT_IMPLEMENTED = 501
    OVERLOADED = 503
    VERSION = 505


class Refusal(msgspec.Struct, frozen=True):
    """A request that never reaches the endpoint. `message` says what was found and what was expected."""

    reason: Reason
    message: str


class Answer(msgspec.Struct, frozen=True):
    """An answer that is ready. The server adds Content-Length and Connection."""

    status: int
    headers: Headers
    body: bytes = b""


class Endpoint(Protocol):
    """What answers requests. An endpoint that also has a method `serve_websocket(websocket)` is given websockets."""

    async def serve(self, exchange: "Exchange") -> None:
        """Answers one request. A request that is left unanswered, or whose task fails, is answered with a 500."""

    def refuse(self, refusal: Refusal) -> Answer:
        """The endpoint's own form of a refusal by the server."""


class Exchange(Protocol):
    """One request and its answer; used by the task that runs `Endpoint.serve`, and by no other task at a time."""

    @property
    def request(self) -> Request: ...

    def age_ms(self) -> float:
        """Milliseconds since the head of the request was whole."""

    @property
    def begun(self) -> bool:
        """Whether an answer has begun: then no other can be sent."""

    @property
    def status(self) -> int:
        """Of the answer that has begun; 0 before."""

    @property
    def body_read(self) -> bool:
        """Whether all of the request's body has arrived and was received."""

    def body_if_here(self) -> bytes | None:
        """The whole body where it arrived together with the head and is small; else None, and nothing is taken."""

    async def receive(self) -> bytes:
        """The next piece of the request's body, b"" at its end. Sends `100 Continue` when the client waits for it.

        Raises `Disconnected`.
        """

    async def read_body(self, limit_bytes: int) -> bytes:
        """The whole body; its memory counts against the endpoint's budget until the request is answered.

        Raises `BodyTooLarge` before the body is read where its length was announced, `TooManyBodies` and
        `Disconnected`.
        """

    def add_headers(self, headers: Headers) -> None:
        """Headers of whatever answer this request gets, after the answer's own."""

    def send_whole(self, status: int, headers: Headers, lines: bytes, body: bytes) -> None:
        """The whole answer, in one write. `lines` are ready header lines that hold nothing a client said.

        Does nothing when the client has gone. Raises `RuntimeError` for a header that no header may be.
        """

    def begin(self, status: int, headers: Headers, lines: bytes = b"") -> None:
        """Starts an answer whose body comes in pieces; the head leaves with the first of them.

        The body is sent with the Content-Length among the headers, else in chunks, else until the connection closes.
        """

    async def send(self, piece: bytes, *, last: bool = False) -> None:
        """A piece of the answer's body; waits while the client has not taken enough of those before.

        Raises `Disconnected`, and `RuntimeError` for an answer that is longer or shorter than its Content-Length.
        """

    def on_disconnect(self, callback: Callable[[], None] | None) -> None:
        """Has the callback called once when the client disconnects, at once if it has; None takes it back."""

    def cancel(self) -> None:
        """Cancels the task that answers; a callback for `on_disconnect`."""

    def uncancel(self) -> bool:
        """Whether `cancel` cancelled the task, and nothing else did: then the task may go on. False the second time."""

    async def gone(self) -> None:
        """Returns when the client has disconnected, or when the answer is complete."""


class WebSocket(Protocol):
    """A client that asks for a websocket (RFC 6455); refused or accepted by `serve_websocket`, once."""

    @property
    def request(self) -> Request: ...

    @property
    def accepted(self) -> bool: ...

    @property
    def proven(self) -> bool:
        """Whether its signature was checked before it became a websocket."""

    @property
    def moves(self) -> int:
        """How often it has come from one process to another."""

    @property
    def drawn(self) -> str:
        """What chance has decided for its request before it became a websocket, as `moving.Arrived`."""

    def refuse(self, answer: Answer) -> None:
        """Answers the handshake with an HTTP answer; the connection closes."""

    def accept(self, headers: Headers) -> None: ...

    async def receive(self) -> str | bytes:
        """The next message, text or binary. Raises `Disconnected` when the client closed its side."""

    async def send(self, message: str | bytes) -> None:
        """Waits while the client has not taken enough of the messages before. Raises `Disconnected`."""

    async def close(self, code: int, reason: str) -> None:
        """Raises `Disconnected`; idempotent otherwise."""
