"""Starts the tasks of requests, at most so many in one turn of the event loop; the others wait in order of arrival.

Used by `http.connection`. Between two turns the loop writes answers and hears from instances: a burst of requests holds
up neither the calls under way nor the first of its own answers until the last of it is served.
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
        """Whether nobody waits for the answer any more."""

    def run(self) -> Coroutine[Any, Any, None]: ...


class Turns:
    """Belongs to one event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop, starts_max: int, running: set[Any]) -> None:
        """`running` gets each request that is started; whoever sees its end takes it out."""
        self._loop = loop
        self._running = running
        self._starts_max = self._starts_left = starts_max
        # Empty as long as more may start in this turn.
        self._waiting: deque[Startable] = deque()

    def start(self, request: Startable) -> None:
        """Now, or in one of the next turns; never, if its client has gone by then."""
        if not self._starts_left:
            self._waiting.append(request)
            return
        self._starts_left -= 1
        if not self._starts_left:
            # Only now is the end of a turn awaited: those that started in turns before count as of this one.
            self._loop.call_soon(self._end)
        if not request.disconnected:
            self._running.add(request)
            request.task = self._loop.create_task(request.run())

    def give_up(self) -> None:
        """What waits is never started."""
        self._waiting.clear()

    def _end(self) -> None:
        """The turn is over: what waits is started in the next one."""
        self._starts_left = self._starts_max
        while self._waiting and self._starts_left:
            self.start(self._waiting.popleft())
