"""Time as every part of Sesame sees it: a protocol, so that tests move it by hand, and the machine's own clocks.

Made once in `app` and handed down; what may look at other clocks, and why, is listed in `tests/test_time.py`.
"""

import asyncio
import time
from collections.abc import Callable
from typing import Protocol


class Timer(Protocol):
    def cancel(self) -> None: ...


class Clocks(Protocol):
    """What time it is, and what is to happen later. Tests hand in `tests.support.fakes.FakeClocks`."""

    def wall(self) -> float:
        """Seconds since 1970 (UTC). May jump when the operator sets the machine's clock."""

    def monotonic(self) -> float:
        """Seconds from an arbitrary start; never goes back. For durations and deadlines."""

    def call_later(self, delay_s: float, callback: Callable[[], None]) -> Timer:
        """Calls back on the running event loop after `delay_s` monotonic seconds, unless the timer is cancelled."""

    async def sleep(self, delay_s: float) -> None:
        """Returns after `delay_s` monotonic seconds. For what waits until a wall time, see `model.alarm`."""


class SystemClocks:
    """The machine's clocks and the timers of the running event loop."""

    # The functions themselves: each call of a function reads the clocks some ten times.
    wall = staticmethod(time.time)
    monotonic = staticmethod(time.monotonic)

    def call_later(self, delay_s: float, callback: Callable[[], None]) -> Timer:
        return asyncio.get_running_loop().call_later(delay_s, callback)

    async def sleep(self, delay_s: float) -> None:
        await asyncio.sleep(delay_s)


async def pause(clocks: Clocks, delay_s: float) -> None:
    """Waits for so long, as part of a loop that goes on to wait for something else.

    What a task does after `Clocks.sleep`, virtual clocks take for work that is due, until it sleeps again.
    """
    over = asyncio.Event()
    timer = clocks.call_later(delay_s, over.set)
    try:
        await over.wait()
    finally:
        timer.cancel()


# For tools that work on a data directory without a running Sesame, and for what waits for real processes.
SYSTEM_CLOCKS = SystemClocks()
