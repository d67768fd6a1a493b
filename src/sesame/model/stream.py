"""A call whose request and response pass through as they come, in pieces, instead of as an event and a result.

Made by `fc.web`, carried by an `Invocation` through the engine, used by a sandbox whose function is a web server.
"""

from collections.abc import Sequence
from typing import Protocol

Headers = Sequence[tuple[bytes, bytes]]


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

    def upgrade(self, headers: Headers) -> None:
        """Begins a response that is no body but messages both ways; for a request that asked for a websocket."""
