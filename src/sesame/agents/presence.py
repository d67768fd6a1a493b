"""Whether a follower has a writer, whether that takes requests, and how long the follower goes on without one.

Used by `agents.follower`.
"""

import asyncio
from typing import Protocol

from sesame.model.errors import Unavailable

# On one machine. Where the writer is replaced, requests wait for the next one as long as it says (`messages.Rest`).
AWAY_S = 15.0


class Life(Protocol):
    """How long a follower may serve that does not hear from a writer."""

    def lasts(self) -> bool:
        """Asked before each call."""

    def answered(self) -> None:
        """The writer has answered `AreYouThere`."""


class Presence:
    def __init__(self, away_s: float = AWAY_S) -> None:
        """A writer that is started again is waited for so long."""
        self._away_s = away_s
        # It answers questions.
        self.here = asyncio.Event()
        self.takes_requests = asyncio.Event()
        self.patience_s = away_s

    def came(self) -> bool:
        """Its catalog is there. False where that was so before."""
        if self.here.is_set():
            return False
        self.here.set()
        self.takes_requests.set()
        self.patience_s = self._away_s
        return True

    def rests(self, within_s: float) -> None:
        """Another one comes in its place."""
        self.takes_requests.clear()
        self.patience_s = within_s

    def lost(self) -> None:
        self.here.clear()
        self.takes_requests.clear()

    async def waited(self, event: asyncio.Event) -> None:
        """Returns when one of the two is set. Raises `Unavailable`."""
        try:
            async with asyncio.timeout(self.patience_s):
                await event.wait()
        except TimeoutError:
            raise self.missing() from None

    def missing(self) -> Unavailable:
        return Unavailable("the agent that keeps the data directory does not come back")
