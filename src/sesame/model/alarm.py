"""One timer for the earliest of many wall times, such as the next tick of all timer triggers.

Used by whatever keeps a list of due times; the list itself stays with its owner.
"""

from collections.abc import Callable

from sesame.model.clocks import Clocks, Timer

# POLICY: how long a wall clock that was set may go unnoticed. One wake-up in this time is the whole cost of waiting.
LOOK_EVERY_S = 60.0


class Alarm:
    """Calls `ring` once the wall clock has reached the time that was set last, and `ring_back` when it was set back.

    A timer of the event loop counts monotonic seconds, so it would miss a wall clock that the operator sets. Therefore
    the alarm compares the clocks at least every LOOK_EVERY_S while a time is set.
    """

    def __init__(
        self, clocks: Clocks, ring: Callable[[], None], ring_back: Callable[[float], None] | None = None
    ) -> None:
        """`ring_back` gets the seconds by which the clock was set back; steps of less than a second are not told."""
        self._clocks = clocks
        self._ring = ring
        self._ring_back = ring_back
        self._at: float | None = None
        self._timer: Timer | None = None
        self._fires_at = 0.0
        self._offset = clocks.wall() - clocks.monotonic()

    def set(self, at: float | None) -> None:
        """Rings at `at` (Unix seconds) instead of what was set before; None: not at all."""
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
        """Rings no more."""
        self.set(None)

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
