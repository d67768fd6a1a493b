"""Conversion between Unix seconds and the milliseconds since 1970 that the APIs show."""

import math

# Exceeds the rounding error of floats near the current time, but not the clock's resolution: 12:00:00.001 must not
# become .000.
_ROUNDING_MS = 0.001


def milliseconds(seconds: float) -> int:
    """Converts to whole milliseconds, rounding down."""
    return math.floor(seconds * 1000 + _ROUNDING_MS)


def first_at(shown_ms: int) -> float:
    """The earliest time, in Unix seconds, that is shown as `shown_ms`."""
    return (shown_ms - _ROUNDING_MS) / 1000


def last_at(shown_ms: int) -> float:
    """The latest time, in Unix seconds, that is shown as `shown_ms`."""
    return (shown_ms + 1 - 2 * _ROUNDING_MS) / 1000
