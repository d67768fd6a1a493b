"""One timer for the earliest of many wall times, such as the next tick of all timer triggers.

Used by every part that keeps a list of due times; the list itself stays with its owner.
"""

from collections.abc import Callable

from sesame.model.clocks import Clocks, Timer

# POLICY: bounds how long a change of the wall clock goes unnoticed, at the cost of one wake-up per interval.
LOOK_EVERY_S = 60.0


class Alarm:
    """Calls `ring` once the wall clock reaches the time last set, and `ring_back` if the wall clock was set back.

    The event loop's timers count monotonic seconds, so they would miss a change of the wall clock. The alarm therefore
    compares both clocks at least every LOOK_EVERY_S while a time is set.
    """

    def __init__(
        self, clocks: Clocks, ring: Callable[[], None], ring_back: Callable[[float], None] | None = None
    ) -> None:
        """`ring_back` receives the seconds by which the clock was set back; steps below one second are ignored."""
        self._clocks = clocks
        self._ring = ring
        self._ring_back = ring_back
        self._closed = False
        self._at: float | None = None
        self._timer: Timer | None = None
        self._fires_at = 0.0
        self._offset = clocks.wall() - clocks.monotonic()

    def set(self, at: float | None) -> None:
        """Replaces the time set before with `at` (Unix seconds); None cancels the alarm. Does nothing after `close`."""
        if self._closed:
            return
        self._at = at
        if at is None:
            self._disarm()
            return
        delay_s = min(max(at - self._clocks.wall(), 0.0), LOOK_EVERY_S)
        fires_at = self._clocks.monotonic() + delay_s
        if self._timer is None or fires_at < self._fires_at:
            self._disarm()
            self._fires_at = fires_at
            self._timer = self._clocks.call_later(delay_s, self._fire)

    def close(self) -> None:
        """Cancels the alarm for good."""
        self.set(None)
        self._closed = True

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _fire(self) -> None:
        self._timer = None
        offset = self._clocks.wall() - self._clocks.monotonic()
        back_s, self._offset = self._offset - offset, offset
        if back_s >= 1.0 and self._ring_back is not None:
            self._ring_back(back_s)
        if self._at is None or self._timer is not None:
            return
        if self._clocks.wall() >= self._at:
            self._at = None
            self._ring()
        else:
            self.set(self._at)
