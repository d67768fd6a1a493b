"""Calls back when rows may be due: after a commit, when the next row falls due, and regularly as a fallback.

Used by both queues, on the loop. There is only one timer.
"""

from collections.abc import Callable

import structlog

from sesame.model.clocks import Clocks, Timer
from sesame.store.queue.clock import QueueClock

# Only a fallback: every change that makes a row due calls back.
POLL_S = 30.0
# The clocks are floating-point numbers: a timer must not fire a rounding error too early.
MARGIN_S = 0.001

log = structlog.get_logger(__name__)


class Wakeups:
    def __init__(self, clocks: Clocks, clock: QueueClock) -> None:
        self._clocks = clocks
        self._clock = clock
        self._callbacks: list[Callable[[], None]] = []
        self._timer: Timer | None = None
        self._rings_at = 0.0
        # When the next row falls due, by the queue's time; None if no row waits.
        self.next_due: float | None = None

    def on_work(self, callback: Callable[[], None]) -> None:
        self._callbacks.append(callback)
        self._arm()

    def due_at(self, at: float) -> None:
        """Notes that a row falls due at `at`; calls back at once if that is now."""
        if at <= self._clock.now():
            self.notify()
        elif self.next_due is None or at < self.next_due:
            self.know(at)

    def know(self, next_due: float | None) -> None:
        """Sets when the next row falls due, after all due rows have been claimed."""
        self.next_due = next_due
        self._arm()

    def notify(self) -> None:
        for callback in self._callbacks:
            try:
                callback()
            except Exception:
                # The other callbacks must still run, and the caller of this commit must get its result.
                log.exception("a claimer could not be woken")

    def close(self) -> None:
        self._callbacks.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _arm(self) -> None:
        """Sets the timer, unless it already fires early enough: firing too early costs only one empty claim."""
        if not self._callbacks:
            return
        now = self._clock.now()
        at = now + POLL_S if self.next_due is None else min(max(self.next_due, now), now + POLL_S)
        if self._timer is not None:
            if self._rings_at <= at:
                return
            self._timer.cancel()
        self._rings_at = at
        self._timer = self._clocks.call_later(at - now + MARGIN_S, self._ring)

    def _ring(self) -> None:
        self._timer = None
        if self.next_due is not None and self.next_due <= self._clock.now():
            # The claim that follows finds the next time.
            self.next_due = None
        self._arm()
        self.notify()
