"""Calls that wait on a follower while there is no writer, and how they go on.

Used by `agents.follower`. As in `http.slow_start`, all at once would be a burst of calls that nobody has made, each of
which needs an instance of its own.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

# POLICY: as many calls may run as did when the writer went, at least so many, and one more for each second since.
AT_FIRST, MORE_PER_S = 8, 1.0


class Backlog:
    """Each waits until an instance here is free for it, or until a writer is there that can say where it goes."""

    def __init__(self, has_writer: Callable[[], bool], running: Callable[[], int], clock: Callable[[], float]) -> None:
        """`running` gives how many calls run on this agent."""
        self._has_writer = has_writer
        self._running = running
        self._clock = clock
        self._waiting: deque[tuple[Callable[[], bool], asyncio.Future[None]]] = deque()
        self._at_once, self._since = AT_FIRST, 0.0
        # Those that go on, and do not run yet.
        self._between = 0

    def writer_goes(self) -> None:
        self._at_once, self._since = max(AT_FIRST, self._running()), self._clock()

    @asynccontextmanager
    async def turn(self, has_room: Callable[[], bool], within_s: float) -> AsyncIterator[None]:
        """Entered when the call goes on; to be left when it runs, or moves. Raises `TimeoutError`.

        `has_room` says whether there is an instance for it here.
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
        """Something may have changed: an instance is free, which one call takes, or a writer has come."""
        if not self._waiting:
            return
        room = True
        at_once = self._at_once + int((self._clock() - self._since) * MORE_PER_S)
        left: deque[tuple[Callable[[], bool], asyncio.Future[None]]] = deque()
        for has_room, turn in self._waiting:
            if turn.done():
                # Its client has gone, or its time has passed.
                continue
            took = room and has_room()
            if took or (self._has_writer() and self._running() + self._between < at_once):
                room = room and not took
                self._between += 1
                turn.set_result(None)
            else:
                left.append((has_room, turn))
        self._waiting = left
