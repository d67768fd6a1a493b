"""Applies what was learned about functions: how long to keep instances, and when to start one ahead of a call.

Built by `engine.running` where learning is enabled; asked by `engine.pool`. The learning itself is in
`engine.keep_alive`.
"""

import asyncio
from collections.abc import Sequence

import structlog

from sesame.engine.instance import Instance
from sesame.engine.keep_alive import KeepAlive, Name, Rhythms, is_kept, name_of
from sesame.engine.pool import Pool
from sesame.engine.readying import NotReady, Readying
from sesame.model.clocks import Clocks, Timer
from sesame.model.errors import SesameError
from sesame.model.invocation import Target
from sesame.model.snapshot import Snapshot

# POLICY: how long after the window begins an instance is started, so that the pool does not expire it as too early.
LATE_S = 1.0

log = structlog.get_logger(__name__)


class Prewarming:
    """Implements `leasing.Learning`. One per engine, on its event loop."""

    def __init__(self, pool: Pool, bounds: KeepAlive, clocks: Clocks, readying: Readying) -> None:
        self._pool = pool
        self._rhythms = Rhythms(bounds)
        self._clocks = clocks
        self._readying = readying
        self._timers: dict[Name, Timer] = {}
        self._starting: set[asyncio.Task[None]] = set()
        self._closed = False

    def began(self, snapshot: Snapshot) -> None:
        if snapshot.trial:
            return
        name = name_of(snapshot)
        self._rhythms.began(name, self._clocks.monotonic())
        timer = self._timers.pop(name, None)
        if timer is not None:
            timer.cancel()

    def ended(self, snapshot: Snapshot) -> None:
        if snapshot.trial:
            return
        name = name_of(snapshot)
        self._rhythms.ended(name, self._clocks.monotonic())
        windows, idle = self._rhythms.windows(name), self._rhythms.idle_since(name) is not None
        if windows is not None and windows.prewarm_s and idle and not self._closed:
            delay_s = windows.prewarm_s + LATE_S
            self._timers[name] = self._clocks.call_later(delay_s, lambda: self._due(name, snapshot))

    def last_kept(self, idle: Sequence[Instance]) -> bool | None:
        snapshot = idle[-1].snapshot
        name = name_of(snapshot)
        windows, since = self._rhythms.windows(name), self._rhythms.idle_since(name)
        if windows is None or since is None or snapshot.trial or idle[-1].idle_since < since:
            # The instance of the last call has already ended; this one is older.
            return None
        return is_kept(self._clocks.monotonic() - since, windows)

    async def close(self) -> None:
        """Starts no more instances; on return none is being started."""
        self._closed = True
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()
        for task in self._starting:
            task.cancel()
        if self._starting:
            await asyncio.wait(self._starting)

    def _due(self, name: Name, snapshot: Snapshot) -> None:
        """POLICY: an instance that may not be needed evicts none: it starts only if there is capacity to spare."""
        del self._timers[name]
        if (
            self._pool.is_current(snapshot)
            and not self._pool.has_idle(snapshot)
            and self._pool.capacity.has_free(snapshot)
        ):
            task = asyncio.get_running_loop().create_task(self._start(snapshot))
            self._starting.add(task)
            task.add_done_callback(self._starting.discard)

    async def _start(self, snapshot: Snapshot) -> None:
        target = Target(snapshot.service, snapshot.version_id, snapshot.function)
        try:
            await self._readying.bring_up(snapshot, target)
        except (SesameError, NotReady) as error:
            # The next call starts its own instance, and reports the error to its caller.
            log.info("no instance was started ahead of a call", function=snapshot.function, reason=str(error))
