"""Says the same now and then only, however often there is reason to."""

from collections.abc import Callable

EVERY_S = 10.0


class Seldom:
    """`clock` gives seconds that only grow."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._said_at = float("-inf")

    def may(self) -> bool:
        """Whether it may be said now, by whoever asks; then not again within EVERY_S."""
        now = self._clock()
        if now - self._said_at < EVERY_S:
            return False
        self._said_at = now
        return True
