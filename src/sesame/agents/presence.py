"""Tracks whether a follower has a writer and whether that accepts requests, and how long requests wait for one.

Used by `agents.follower`.
"""

import asyncio
from typing import Protocol

from sesame.model.errors import Unavailable

# How long requests wait for a writer on one machine. One that is being replaced sets the time (`WriterReplaced`).
AWAY_S = 15.0


class Life(Protocol):
    """Limits how long a follower may serve calls without hearing from a writer. Used in a cluster."""

    def lasts(self) -> bool:
        """Whether the follower may still serve calls. Checked before each call."""

    def answered(self) -> None:
        """The writer has answered `AreYouThere`."""


class Presence:
    def __init__(self, away_s: float = AWAY_S) -> None:
        """`away_s` is how many seconds requests wait for a writer that is started again."""
        self._away_s = away_s
        # Set while there is a writer that answers questions.
        self.here = asyncio.Event()
        self.takes_requests = asyncio.Event()
        self.patience_s = away_s

    def came(self) -> bool:
        """The writer's catalog has arrived. Returns False if there was a writer already."""
        if self.here.is_set():
            return False
        self.here.set()
        self.takes_requests.set()
        self.patience_s = self._away_s
        return True

    def replaced(self, within_s: float) -> None:
        """The writer is being replaced: requests wait up to `within_s` seconds for the next one."""
        self.takes_requests.clear()
        self.patience_s = within_s

    def lost(self) -> None:
        """The link to the writer has ended."""
        self.here.clear()
        self.takes_requests.clear()

    async def waited(self, event: asyncio.Event) -> None:
        """Waits for `here` or `takes_requests`. Raises `Unavailable` if no writer comes in time."""
        try:
            async with asyncio.timeout(self.patience_s):
                await event.wait()
        except TimeoutError:
            raise self.missing() from None

    def missing(self) -> Unavailable:
        return Unavailable("the agent that keeps the data directory does not come back")
