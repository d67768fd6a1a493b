"""The time limit of one call to a sandbox.

Owned by `engine.instance`, which decides what to do when it passes.
"""

from collections.abc import Callable

from sesame.model.clocks import Clocks, Timer


class Deadline:
    """Calls `on_passed` if the deadline passes before it is lifted.

    Can be set again, with another callback, for a new call.

    Most calls finish long before their deadline. To avoid creating a timer per call, one timer is kept; when it fires
    it re-arms itself for the current deadline.
    """

    __slots__ = ("_clocks", "_fires_at", "_passes_at", "_timer", "on_passed", "passed")

    def __init__(self, clocks: Clocks, on_passed: Callable[[], object]) -> None:
        self.passed = False
        self._clocks = clocks
        self.on_passed = on_passed
        self._passes_at: float | None = None
        self._timer: Timer | None = None
        self._fires_at = 0.0

    def set(self, limit_s: float) -> None:
        self._passes_at = passes_at = self._clocks.monotonic() + limit_s
        if self._timer is None or passes_at < self._fires_at:
            self._arm(limit_s, passes_at)

    def lift(self) -> None:
        self._passes_at = None

    def close(self) -> None:
        """Cancels the timer: `on_passed` is not called any more."""
        self._passes_at = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _arm(self, delay_s: float, fires_at: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._fires_at = fires_at
        self._timer = self._clocks.call_later(delay_s, self._fire)

    def _fire(self) -> None:
        self._timer = None
        passes_at = self._passes_at
        if passes_at is None:
            return
        left_s = passes_at - self._clocks.monotonic()
        if left_s > 0:
            self._arm(left_s, passes_at)
        else:
            self._passes_at = None
            self.passed = True
            self.on_passed()
