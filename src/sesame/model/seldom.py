"""Limits how often the same message is logged."""

from collections.abc import Callable

EVERY_S = 10.0


class Seldom:
    """`clock` returns monotonic seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._said_at = float("-inf")

    def may(self) -> bool:
        """Whether the caller may log now; True at most once within EVERY_S."""
        now = self._clock()
        if now - self._said_at < EVERY_S:
            return False
        self._said_at = now
        return True
