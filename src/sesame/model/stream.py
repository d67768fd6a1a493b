"""A call whose request and response pass through in pieces, instead of as an event and a result.

Created by `fc.web`, carried by an `Invocation` through the engine, used by a sandbox whose function is a web server.
"""

from collections.abc import Sequence
from typing import Protocol

Headers = Sequence[tuple[bytes, bytes]]


class Messages(Protocol):
    """The caller's side of a websocket: text or binary messages in both directions."""

    def accept(self, headers: Headers) -> None:
        """Accepts the websocket, with the headers of the function's response to the handshake."""

    async def receive(self) -> str | bytes | None:
        """The caller's next message; None after the last."""

    async def send(self, message: str | bytes) -> None:
        """Returns when there is room for the next message."""

    async def close(self, code: int, reason: str) -> None:
        """Closes the websocket on behalf of the function."""


class Stream(Protocol):
    """The caller's side of one request. Applies backpressure in both directions."""

    @property
    def method(self) -> str: ...

    @property
    def target(self) -> bytes:
        """Path and query, as the function sees them."""

    @property
    def headers(self) -> Headers:
        """The request's headers, without hop-by-hop headers and those that the platform sets."""

    @property
    def length(self) -> int | None:
        """The length of the request's body in bytes; None if it is chunked."""

    def whole_body(self) -> bytes | None:
        """The whole body if it has arrived and is small; otherwise None, and no data is consumed."""

    async def receive(self) -> bytes:
        """The next piece of the request's body, b"" at its end."""

    def begin(self, status: int, headers: Headers) -> None:
        """Begins the response. Raises `ValueError` for a head that cannot be passed on."""

    async def send(self, piece: bytes, *, last: bool) -> None:
        """Sends a piece of the response's body; returns when there is room for the next."""

    @property
    def messages(self) -> "Messages | None":
        """Set if the request asks for a websocket.

        `Messages.accept` accepts it; `begin` refuses it with a plain response.
        """
