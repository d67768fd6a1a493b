"""A histogram of durations for busy paths: adding one costs well under a microsecond.

Filled by one thread at a time; read by `metrics` on the event loop.
"""

from bisect import bisect_left
from collections.abc import Sequence


class Durations:
    """`counts[i]` counts the durations up to `bounds_s[i]` and above the previous bound; the last count is unbounded.

    Without bounds, only the number and the sum are kept.
    """

    __slots__ = ("bounds_s", "counts", "sum_s")

    def __init__(self, bounds_s: Sequence[float]) -> None:
        self.bounds_s = bounds_s
        self.counts = [0] * (len(bounds_s) + 1)
        self.sum_s = 0.0

    @property
    def count(self) -> int:
        return sum(self.counts)

    def add(self, seconds: float) -> None:
        self.counts[bisect_left(self.bounds_s, seconds)] += 1
        self.sum_s += seconds
