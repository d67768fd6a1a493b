"""What ratios of neighbours in time say together: their median, how sure it is, and how far they lie apart.

Used by every benchmark. The interval of a median supposes nothing of how the ratios are distributed: it lies between
two of them, in order, and misses the true median as often as a fair coin shows heads so rarely.
"""

import math
import statistics

MISSES_AT_MOST = 0.05


def interval(ratios: list[float]) -> tuple[float, float]:
    """Between what the median lies with 95 %; of fewer than six, all that is known is the least and the greatest."""
    ordered, count = sorted(ratios), len(ratios)
    left_out, missed = -1, 0.0
    while (missed := missed + math.comb(count, left_out + 1) * 0.5**count) <= MISSES_AT_MOST / 2:
        left_out += 1
    left_out = max(left_out, 0)
    return ordered[left_out], ordered[count - 1 - left_out]


def spread(ratios: list[float]) -> str:
    low, high = interval(ratios)
    return (
        f"median {statistics.median(ratios):.2f} × (95 %: {low:.2f} to {high:.2f}; "
        f"min {min(ratios):.2f}, max {max(ratios):.2f}, n={len(ratios)})"
    )


def over(ratios: list[float], limit: float) -> bool:
    """Whether the median is above the limit beyond doubt; a noisy hour is no verdict."""
    return interval(ratios)[0] > limit


def under(ratios: list[float], limit: float) -> bool:
    """Whether the median is below the limit beyond doubt."""
    return interval(ratios)[1] < limit
