"""Holds back a follower's calls while there is no writer, and resumes them gradually.

Used by `agents.follower` and `agents.calls`. Resuming all of them at once would be a burst that no client caused, in
which each call needs an instance of its own; compare `http.slow_start`.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

# POLICY: as many calls may run as ran when the writer was lost, but at least AT_FIRST, and MORE_PER_S more for each
# second since then.
AT_FIRST, MORE_PER_S = 8, 1.0


class Backlog:
    """A call waits until an instance here is free for it, or until a writer can decide where it runs."""

    def __init__(self, has_writer: Callable[[], bool], running: Callable[[], int], clock: Callable[[], float]) -> None:
        """`running` gives how many calls run on this agent."""
        self._has_writer = has_writer
        self._running = running
        self._clock = clock
        self._waiting: deque[tuple[Callable[[], bool], asyncio.Future[None]]] = deque()
        self._at_once, self._since = AT_FIRST, 0.0
        # Calls that have been resumed but do not run yet.
        self._between = 0

    def writer_goes(self) -> None:
        """The writer has been lost: records how many calls were running."""
        self._at_once, self._since = max(AT_FIRST, self._running()), self._clock()

    @asynccontextmanager
    async def turn(self, has_room: Callable[[], bool], within_s: float) -> AsyncIterator[None]:
        """Entered when the call may go on; leave it once the call is running or has a place to move to.

        `has_room` tells whether there is an instance for the call here. Raises `TimeoutError` after `within_s` seconds.
        """
        if self._waiting or not (has_room() or self._has_writer()):
            turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.append((has_room, turn))
            try:
                async with asyncio.timeout(within_s):
                    await turn
            except BaseException:
                self._between -= turn.done() and not turn.cancelled()
                raise
        else:
            self._between += 1
        try:
            yield
        finally:
            self._between -= 1

    def step(self) -> None:
        """Resumes calls as permitted. Called when an instance may have become free, or a writer may have come."""
        if not self._waiting:
            return
        room = True
        at_once = self._at_once + int((self._clock() - self._since) * MORE_PER_S)
        left: deque[tuple[Callable[[], bool], asyncio.Future[None]]] = deque()
        for has_room, turn in self._waiting:
            if turn.done():
                # The client has disconnected, or the call has waited too long.
                continue
            took = room and has_room()
            if took or (self._has_writer() and self._running() + self._between < at_once):
                room = room and not took
                self._between += 1
                turn.set_result(None)
            else:
                left.append((has_room, turn))
        self._waiting = left
