"""Limits how many requests start in one turn of the event loop; the others wait in order of arrival.

Used by `http.connection`. Between turns the loop writes answers and hears from instances, so that a burst of requests
delays neither the calls under way nor its own first answers until its last request is served.
"""

import asyncio
from collections import deque
from collections.abc import Coroutine
from typing import Any, Protocol


class Startable(Protocol):
    """A request. Its `task` is set when it is started."""

    task: asyncio.Task[None]

    @property
    def disconnected(self) -> bool:
        """Whether the client no longer waits for the answer."""

    def run(self) -> Coroutine[Any, Any, None]: ...


class Turns:
    """Belongs to one event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop, starts_max: int, running: set[Any]) -> None:
        """Each started request is added to `running`; the caller removes it when it ends."""
        self._loop = loop
        self._running = running
        self._starts_max = self._starts_left = starts_max
        # Empty as long as more requests may start in this turn.
        self._waiting: deque[Startable] = deque()

    def start(self, request: Startable) -> None:
        """Starts the request now or in a later turn, unless its client has disconnected by then."""
        if not self._starts_left:
            self._waiting.append(request)
            return
        self._starts_left -= 1
        if not self._starts_left:
            # Only now schedule the end of the turn: starts in earlier turns count as if they were in this one.
            self._loop.call_soon(self._end)
        if not request.disconnected:
            self._running.add(request)
            request.task = self._loop.create_task(request.run())

    def give_up(self) -> None:
        """Drops the waiting requests without starting them."""
        self._waiting.clear()

    def _end(self) -> None:
        """Starts the next waiting requests in a new turn."""
        self._starts_left = self._starts_max
        while self._waiting and self._starts_left:
            self.start(self._waiting.popleft())
