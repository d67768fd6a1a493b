"""With several agents on one port: decides which of them answers a request.

Implemented by `agents`; not used with a single agent.
"""

from collections.abc import Awaitable
from typing import Protocol

from sesame.fc.refusals import NonceUsed
from sesame.http.interface import Exchange
from sesame.identity.nonces import UsedNonces
from sesame.model.invocation import Target


class Placement(Protocol):
    """`moves` and `to_writer` tell whether another agent has taken over the connection; nothing is then left to do
    here.

    Both raise `PlatformError` for a request that can neither be served here nor move.
    """

    @property
    def nonces(self) -> UsedNonces:
        """The nonces that this agent has seen."""

    def proven(self, exchange: Exchange) -> bool:
        """Whether another agent has verified the request's signature and recorded its nonce."""

    def first_use(self, nonce: bytes) -> Awaitable[bool] | None:
        """Whether no agent has seen this nonce, a digest from `identity.nonces.digest_of` that is new to this agent.

        None if this agent has seen the nonces of all. Raises `PlatformError` if it cannot be determined.
        """

    def serves_calls_of(self, target: Target) -> bool:
        """Whether synchronous calls of `target` may be served here. If not, the request goes to the writer."""

    def drawn(self, target: Target, exchange: Exchange) -> Target:
        """The function that a synchronous call of `target` runs: for an alias with a canary, with the version drawn."""

    def moves(self, called: Target, exchange: Exchange) -> Awaitable[bool] | None:
        """Call before serving a synchronous call of a `drawn` target. None if it is served here."""

    def opens_here(self, exchange: Exchange) -> Awaitable[bool]:
        """After `moves` has decided to serve here: restarts a websocket request here as a websocket.

        Returns False if its connection cannot move.
        """

    def came(self, target: Target, *, moved: bool) -> None:
        """Records that a websocket has arrived for which there was a place; another agent knew it if it has `moved`."""

    def to_writer(self, exchange: Exchange) -> Awaitable[bool] | None:
        """Call before serving anything else. None if it is served here."""


async def require_first_use(placement: Placement, nonce: bytes | None) -> None:
    """Raises `NonceUsed` unless the nonce of a verified request, if it has one, is new to all agents."""
    if nonce is not None:
        asking = placement.first_use(nonce)
        if asking is not None and not await asking:
            raise NonceUsed
