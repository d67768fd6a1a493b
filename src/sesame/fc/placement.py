"""Where several agents serve one port: which of them answers a request.

Implemented by `agents`; a Sesame of one agent has none.
"""

from collections.abc import Awaitable
from typing import Protocol

from sesame.fc.refusals import NonceUsed
from sesame.http.interface import Exchange
from sesame.identity.nonces import UsedNonces
from sesame.model.invocation import Target


class Placement(Protocol):
    """`moves` and `to_writer` say whether another agent has taken the connection over: then nothing is left to do.

    Both raise `PlatformError` for a request that cannot be served here, and cannot move.
    """

    @property
    def nonces(self) -> UsedNonces:
        """Those that this agent has seen."""

    def proven(self, exchange: Exchange) -> bool:
        """Whether another agent has checked the request's signature, and used its nonce."""

    def first_use(self, nonce: bytes) -> Awaitable[bool] | None:
        """Whether no agent has seen the nonce before, which is new to this one; by `identity.nonces.digest_of`.

        None where this agent has seen those of all. Raises `PlatformError` where nobody can say so.
        """

    def serves_calls_of(self, target: Target) -> bool:
        """Whether synchronous calls of it may be served here. What is refused before, the writer refuses, too."""

    def drawn(self, target: Target, exchange: Exchange) -> Target:
        """What a synchronous call of `target` calls: of an alias with a canary, the version that it is to have."""

    def moves(self, called: Target, exchange: Exchange) -> Awaitable[bool] | None:
        """Before a synchronous call of what was `drawn` is served; None where it is served here."""

    def opens_here(self, exchange: Exchange) -> Awaitable[bool]:
        """Once `moves` says that it is served here: has a request for a websocket come here anew, as the websocket.

        False for one whose connection cannot move.
        """

    def came(self, target: Target, *, moved: bool) -> None:
        """A websocket has come, for which there was a place here: by the word of another agent where it has `moved`."""

    def to_writer(self, exchange: Exchange) -> Awaitable[bool] | None:
        """Before anything else is served; None where it is served here."""


async def require_first_use(placement: Placement, nonce: bytes | None) -> None:
    """Raises `NonceUsed` unless the nonce of a verified request, if it has one, is new to every agent."""
    if nonce is not None:
        asking = placement.first_use(nonce)
        if asking is not None and not await asking:
            raise NonceUsed
