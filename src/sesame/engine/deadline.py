"""The time limit of whatever an instance is asked, one thing at a time.

Owned by `engine.instance`. Never decides what follows when the time is up.
"""

from collections.abc import Callable

from sesame.model.clocks import Clocks, Timer


class Deadline:
    """Calls back when it is over before it is lifted.

    Most are lifted soon, and to set a timer for each costs more than all else here: one timer stays from one to the
    next, and looks what there is when it goes off.
    """

    def __init__(self, clocks: Clocks, on_over: Callable[[], None]) -> None:
        self._clocks = clocks
        self._on_over = on_over
        self._over_at: float | None = None
        self._timer: Timer | None = None
        self._looks_at = 0.0

    def set(self, limit_s: float) -> None:
        self._over_at = over_at = self._clocks.monotonic() + limit_s
        if self._timer is None or over_at < self._looks_at:
            self._look_in(limit_s, over_at)

    def lift(self) -> None:
        self._over_at = None

    def close(self) -> None:
        """Nothing is called back from here on."""
        self._over_at = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look_in(self, delay_s: float, at: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._looks_at = at
        self._timer = self._clocks.call_later(delay_s, self._look)

    def _look(self) -> None:
        self._timer = None
        over_at = self._over_at
        if over_at is None:
            return
        left_s = over_at - self._clocks.monotonic()
        if left_s > 0:
            self._look_in(left_s, over_at)
        else:
            self._over_at = None
            self._on_over()
