"""Keeps the background tasks of a running Sesame alive: one that fails is logged and started again, until `close`.

Used by `app`'s parts for everything that runs for as long as Sesame does.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Protocol

import structlog

RESTART_AFTER_S = 1.0
RESTART_AFTER_MAX_S = 60.0
# A task that has run for so long before it failed is started again after the shortest wait.
SOUND_AFTER_S = 300.0

log = structlog.get_logger(__name__)


class Clocks(Protocol):
    """What background tasks need of `model.clocks.Clocks`."""

    def monotonic(self) -> float: ...
    async def sleep(self, delay_s: float) -> None: ...


class BackgroundTasks:
    """Belongs to one event loop."""

    def __init__(self, clocks: Clocks, restart_after_s: float = RESTART_AFTER_S) -> None:
        self._clocks = clocks
        self._restart_after_s = restart_after_s
        self._running: dict[str, asyncio.Task[None]] = {}

    def keep(self, name: str, run: Callable[[], Awaitable[None]]) -> None:
        """Runs `run()`, which should not return, and runs it again whenever it ends, however it ends.

        The wait before it is started again doubles with each failure, up to RESTART_AFTER_MAX_S.
        """
        assert name not in self._running, f"two background tasks are called '{name}'"
        self._start(name, run, self._restart_after_s)

    def names(self) -> list[str]:
        return sorted(self._running)

    async def stop(self, name: str) -> None:
        """Cancels one task for good and returns when it has ended; idempotent."""
        task = self._running.pop(name, None)
        if task is not None:
            task.cancel()
            await asyncio.wait([task])

    async def close(self) -> None:
        """Cancels every task and returns when all have ended; idempotent."""
        running = list(self._running.values())
        self._running.clear()
        for task in running:
            task.cancel()
        if running:
            await asyncio.wait(running)

    def _start(self, name: str, run: Callable[[], Awaitable[None]], wait_s: float, delay_s: float = 0.0) -> None:
        started_at = self._clocks.monotonic() + delay_s

        async def delayed() -> None:
            if delay_s:
                await self._clocks.sleep(delay_s)
            await run()

        def ended(task: "asyncio.Task[None]") -> None:
            if self._running.get(name) is not task:
                return
            error = None if task.cancelled() else task.exception()
            sound = self._clocks.monotonic() - started_at > SOUND_AFTER_S
            wait = self._restart_after_s if sound else wait_s
            log.error(
                "a background task has ended and is started again", task=name, after_s=wait, error=str(error or "none"),
                exc_info=error,
            )  # fmt: skip
            self._start(name, run, min(2 * wait, RESTART_AFTER_MAX_S), wait)

        task = self._running[name] = asyncio.get_running_loop().create_task(delayed(), name=f"sesame {name}")
        task.add_done_callback(ended)


async def every(clocks: Clocks, seconds: float, act: Callable[[], Awaitable[object]]) -> None:
    """Calls `act` now and then every `seconds`, counted from the end of a call; never returns by itself."""
    while True:
        await act()
        await clocks.sleep(seconds)
