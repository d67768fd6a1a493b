"""Measures how late the event loop runs its callbacks, several times a second.

Started by `_metrics` if metrics are enabled. A blocked event loop delays every call of the server.
"""

from sesame.model.clocks import Clocks, Timer
from sesame.model.durations import Durations

BEAT_S = 0.25
BOUNDS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)


class LoopLag:
    """Not thread-safe: belongs to one event loop. Call `start` once, then `stop` once."""

    def __init__(self, clocks: Clocks) -> None:
        self.durations = Durations(BOUNDS_S)
        self._clocks = clocks
        self._due = 0.0
        self._timer: Timer | None = None

    def start(self) -> None:
        self._due = self._clocks.monotonic() + BEAT_S
        self._timer = self._clocks.call_later(BEAT_S, self._beat)

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _beat(self) -> None:
        self.durations.add(max(self._clocks.monotonic() - self._due, 0.0))
        self.start()
