"""A call whose request and response pass through as they come, in pieces, instead of as an event and a result.

Made by `fc.web`, carried by an `Invocation` through the engine, used by a sandbox whose function is a web server.
"""

from collections.abc import Sequence
from typing import Protocol

Headers = Sequence[tuple[bytes, bytes]]


class Messages(Protocol):
    """The caller's side of a websocket: messages both ways, text or binary."""

    def accept(self, headers: Headers) -> None:
        """Begins the exchange of messages, with these headers of the function's response to the handshake."""

    async def receive(self) -> str | bytes | None:
        """The next message of the caller; None when there are no more."""

    async def send(self, message: str | bytes) -> None:
        """Returns when there is room for the next."""

    async def close(self, code: int, reason: str) -> None:
        """The function sends no more."""


class Stream(Protocol):
    """The caller's side of one request. Never asks for more than there is room for: both directions wait."""

    @property
    def method(self) -> str: ...

    @property
    def target(self) -> bytes:
        """Path and query, as the function is to see them."""

    @property
    def headers(self) -> Headers:
        """Of the request, but for those of the connection and those that the platform sets."""

    @property
    def length(self) -> int | None:
        """Of the request's body; None where it comes in chunks."""

    def whole_body(self) -> bytes | None:
        """The body where it is here already and small; else None, and nothing is taken."""

    async def receive(self) -> bytes:
        """The next piece of the request's body, b"" at its end."""

    def begin(self, status: int, headers: Headers) -> None:
        """Begins the response. Raises `ValueError` for a head that cannot be passed on."""

    async def send(self, piece: bytes, *, last: bool) -> None:
        """A piece of the response's body; returns when there is room for the next."""

    @property
    def messages(self) -> "Messages | None":
        """There for a request that asks for a websocket, which is answered by `Messages.accept`, or by `begin`."""
