"""Time as the engine sees it: a protocol, so that tests turn the hands themselves, and the real one.

Given to every part of the engine by `app`; never read directly from `time` elsewhere in this room.
"""

import asyncio
import time
from collections.abc import Callable
from typing import Protocol


class Timer(Protocol):
    def cancel(self) -> None: ...


class Clock(Protocol):
    def now(self) -> float:
        """Monotonic seconds."""

    def call_later(self, delay_s: float, callback: Callable[[], None]) -> Timer:
        """Calls back on the event loop after `delay_s` seconds of this clock."""


class LoopClock:
    """The clock of the event loop that it is made in."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()

    def now(self) -> float:
        return time.monotonic()

    def call_later(self, delay_s: float, callback: Callable[[], None]) -> Timer:
        return self._loop.call_later(delay_s, callback)
