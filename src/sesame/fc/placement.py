"""Where several agents serve one port: which of them answers a request.

Implemented by `agents`; a Sesame of one agent has none.
"""

from collections.abc import Awaitable
from typing import Protocol

from sesame.http.interface import Exchange
from sesame.model.invocation import Target


class Placement(Protocol):
    """`moves` and `to_writer` say whether another agent has taken the connection over: then nothing is left to do.

    Both raise `PlatformError` for a request that cannot be served here, and cannot move.
    """

    def proven(self, exchange: Exchange) -> bool:
        """Whether another agent has checked the request's signature, and used its nonce."""

    def serves_calls_of(self, target: Target) -> bool:
        """Whether synchronous calls of it may be served here. What is refused before, the writer refuses, too."""

    def moves(self, target: Target, exchange: Exchange) -> Awaitable[bool] | None:
        """Before a synchronous call is served; None where it is served here."""

    def to_writer(self, exchange: Exchange) -> Awaitable[bool] | None:
        """Before anything else is served; None where it is served here."""
