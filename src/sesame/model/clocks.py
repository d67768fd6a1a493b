"""Sesame's source of time: a protocol, so that tests control time, and an implementation with the machine's clocks.

Created once in `app` and passed down; `tests/test_time.py` lists the modules that may read other clocks, and why.
"""

import asyncio
import time
from collections.abc import Callable
from typing import Protocol


class Timer(Protocol):
    def cancel(self) -> None: ...


class Clocks(Protocol):
    """Reads the time and schedules callbacks. Tests pass `tests.support.fakes.FakeClocks`."""

    def wall(self) -> float:
        """Seconds since 1970 (UTC). May jump when the operator sets the machine's clock."""

    def monotonic(self) -> float:
        """Seconds from an arbitrary start; never goes back. For durations and deadlines."""

    def call_later(self, delay_s: float, callback: Callable[[], None]) -> Timer:
        """Calls `callback` on the running event loop after `delay_s` monotonic seconds, unless cancelled."""

    async def sleep(self, delay_s: float) -> None:
        """Returns after `delay_s` monotonic seconds. To wait for a wall time, see `model.alarm`."""


class SystemClocks:
    """The machine's clocks and the timers of the running event loop."""

    # The functions themselves, without a wrapper: every function call reads the clocks about ten times.
    wall = staticmethod(time.time)
    monotonic = staticmethod(time.monotonic)

    def call_later(self, delay_s: float, callback: Callable[[], None]) -> Timer:
        return asyncio.get_running_loop().call_later(delay_s, callback)

    async def sleep(self, delay_s: float) -> None:
        await asyncio.sleep(delay_s)


async def pause(clocks: Clocks, delay_s: float) -> None:
    """Waits `delay_s` seconds within a loop that goes on to wait for something else.

    Virtual clocks treat a task woken from `Clocks.sleep` as busy until it sleeps again; a task in `pause` is not.
    """
    elapsed = asyncio.Event()
    timer = clocks.call_later(delay_s, elapsed.set)
    try:
        await elapsed.wait()
    finally:
        timer.cancel()


# For tools that work on a data directory without a running Sesame, and for waits for real processes.
SYSTEM_CLOCKS = SystemClocks()
