"""Times as the APIs show them in milliseconds since 1970, and which moments are shown so."""

import math

# What floats of today's times lose, and less than the clock's resolution: 12:00:00.001 must not be shown as .000.
_ROUNDING_MS = 0.001


def milliseconds(seconds: float) -> int:
    """A time as it is shown: whole milliseconds, cut off."""
    return math.floor(seconds * 1000 + _ROUNDING_MS)


def first_at(shown_ms: int) -> float:
    """The first moment, in Unix seconds, that is shown as this time."""
    return (shown_ms - _ROUNDING_MS) / 1000


def last_at(shown_ms: int) -> float:
    """The last moment that is shown as this time."""
    return (shown_ms + 1 - 2 * _ROUNDING_MS) / 1000
