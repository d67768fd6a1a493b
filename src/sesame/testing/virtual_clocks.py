"""Clocks that follow the machine's clocks and can be moved ahead; timers that become due fire at once.

Used by `testing.server`: functions run in real time, while waits of hours take none.
"""

import asyncio
import time
from collections.abc import Callable


class _Timer:
    def __init__(self, clocks: "VirtualClocks", at: float, callback: Callable[[], None]) -> None:
        self.at = at
        self.callback = callback
        self._clocks = clocks
        self._handle: asyncio.TimerHandle | None = None

    def cancel(self) -> None:
        self._disarm()
        self._clocks.forget(self)

    def arm(self) -> None:
        """Sets or moves the event loop's timer to when this timer is now due."""
        self._disarm()
        delay_s = max(self.at - self._clocks.monotonic(), 0.0)
        self._handle = asyncio.get_running_loop().call_later(delay_s, self.fire)

    def fire(self) -> None:
        self.cancel()
        self.callback()

    def _disarm(self) -> None:
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None


class VirtualClocks:
    """A `model.clocks.Clocks` for one event loop. Monotonic time only advances; the wall clock can be reset."""

    def __init__(self) -> None:
        self._ahead_s = 0.0
        self._wall_ahead_s = 0.0
        # A dictionary, to keep timers that are due at the same time in the order in which they were set.
        self._timers: dict[_Timer, None] = {}
        self._woken: set[asyncio.Task[object]] = set()

    def wall(self) -> float:
        return time.time() + self._wall_ahead_s

    def monotonic(self) -> float:
        return time.monotonic() + self._ahead_s

    def call_later(self, delay_s: float, callback: Callable[[], None]) -> _Timer:
        timer = _Timer(self, self.monotonic() + delay_s, callback)
        self._timers[timer] = None
        timer.arm()
        return timer

    async def sleep(self, delay_s: float) -> None:
        woken = asyncio.get_running_loop().create_future()
        timer = self.call_later(delay_s, lambda: None if woken.done() else woken.set_result(None))
        task = asyncio.current_task()
        assert task is not None
        self._woken.discard(task)
        try:
            await woken
        finally:
            timer.cancel()
        self._woken.add(task)
        task.add_done_callback(self._woken.discard)

    def awake(self) -> list[str]:
        """The names of tasks that were woken from `sleep` and have neither ended nor gone to sleep again."""
        return sorted(task.get_name() for task in self._woken)

    def forget(self, timer: _Timer) -> None:
        self._timers.pop(timer, None)

    def jump(self, seconds: float) -> None:
        """Moves both clocks ahead, and fires every timer that becomes due once, in order."""
        self._ahead_s += seconds
        self._wall_ahead_s += seconds
        due = [timer for timer in self._timers if timer.at <= self.monotonic()]
        for timer in sorted(due, key=lambda timer: timer.at):
            if timer in self._timers:
                timer.fire()
        for timer in self._timers:
            timer.arm()

    def put_right(self) -> None:
        """Resets the wall clock to the machine's time."""
        self._wall_ahead_s = 0.0
