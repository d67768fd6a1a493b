"""How long an instance is kept for a function's next call, learned from the function's own rhythm.

Used by `engine.pool` and by `engine.prewarming` where learning is set. After the hybrid histogram of "Serverless in the
Wild" (Shahrad et al., USENIX ATC 2020): of the times between calls, in minutes, a low percentile says until when no
instance is needed. Until when one waits is decided by what waiting costs. Knows no instances and asks no clock.
"""

import math
from array import array
from collections import OrderedDict
from collections.abc import Sequence

import msgspec

from sesame.model.snapshot import Snapshot

BIN_S = 60.0
# Four hours, as in the paper: what is called more seldom is not worth an instance that waits.
BINS = 240
# POLICY: the next call comes after this share of the idle times.
HEAD = 0.05
# POLICY: a call that does not start cold is worth that an instance waits for so many times the fixed time. The paper
# keeps one until the 99th percentile, whatever that costs; calls of some functions are then too seldom to wait for.
WORTH = 1.5
# POLICY: for the idle times that were not seen yet, the time in which an instance is there is widened by so much.
MARGIN = 0.1
# POLICY: a histogram says something once it has so many idle times, of which at most so many were beyond its bins, and
# once they are not spread as evenly as chance would have it (by the coefficient of variation of the bins).
IDLE_TIMES_MIN = 10
BEYOND_SHARE_MAX = 0.5
VARIATION_MIN = 2.0
# POLICY: an instance goes before the first window only if it saves at least so much; else it stays.
UNLOADED_S_MIN = 120.0
# POLICY: an instance that goes until then has so long for calls that follow at once.
GRACE_S = 10.0
# POLICY: a rhythm that changes is learned anew: at so many idle times, those seen so far count half.
HALVED_AT = 4096
# POLICY: the windows are reckoned anew with each part of so many idle times more, so that frequent calls seldom pay.
RECKONED_PART = 16
# POLICY: a function that has not been called for longest is forgotten first. Each takes about a kilobyte.
FUNCTIONS_MAX = 20_000

Name = tuple[str, str, str]


class KeepAlive(msgspec.Struct, frozen=True):
    """`fixed_s` holds where nothing is learned; what is learned is within `least_s` and `most_s`."""

    fixed_s: float
    learned: bool = False
    least_s: float = BIN_S
    most_s: float = BINS * BIN_S


class Windows(msgspec.Struct, frozen=True):
    """Seconds since a function's last call ended: none is needed before `prewarm_s`, and none from `keep_s` on."""

    prewarm_s: float
    keep_s: float


def windows_of(bins: Sequence[int], beyond: int, bounds: KeepAlive) -> Windows | None:
    """By a histogram of idle times in minutes; `beyond` were longer than it reaches. None where it says nothing yet."""
    seen = sum(bins)
    if seen + beyond < IDLE_TIMES_MIN or beyond > BEYOND_SHARE_MAX * (seen + beyond):
        return None
    mean = seen / len(bins)
    variance = sum((each - mean) ** 2 for each in bins) / len(bins)
    if math.sqrt(variance) < VARIATION_MIN * mean:
        return None
    head, worth_s = _bin_at(bins, HEAD * seen), WORTH * bounds.fixed_s
    # Where an instance goes until it is needed, and where it stays.
    choices = [_best(bins, beyond, head * (1 - MARGIN), worth_s), _best(bins, beyond, 0.0, worth_s)]
    prewarm_s, keep_s, _gain_s = max(choices, key=lambda each: each[2])
    keep_s = min(max(keep_s * (1 + MARGIN), bounds.least_s), bounds.most_s)
    return Windows(prewarm_s if UNLOADED_S_MIN <= prewarm_s < keep_s else 0.0, keep_s)


def _best(bins: Sequence[int], beyond: int, first: float, worth_s: float) -> tuple[float, float, float]:
    """From `first` (in bins) to where waiting gains the most: both in seconds, and the gain.

    Each call that is waited for costs the time, and gains `worth_s` if it comes meanwhile.
    """
    waiting = sum(bins) + beyond - sum(bins[: int(first)])
    gain_s, best_s, best_gain_s = 0.0, (int(first) + 1) * BIN_S, -math.inf
    for index in range(int(first), len(bins)):
        gain_s += bins[index] * worth_s - waiting * BIN_S
        waiting -= bins[index]
        if gain_s > best_gain_s:
            best_s, best_gain_s = (index + 1) * BIN_S, gain_s
    return first * BIN_S, best_s, best_gain_s


def is_kept(idle_s: float, windows: Windows) -> bool:
    """Whether the function's last instance is kept when its last call ended so long ago."""
    return idle_s < _grace_s(windows) or windows.prewarm_s <= idle_s < windows.keep_s


def kept_s(idle_s: float, windows: Windows) -> float:
    """For how long of that time an instance was kept, if all went by `is_kept`."""
    first_s = min(idle_s, _grace_s(windows))
    return first_s + max(min(idle_s, windows.keep_s) - windows.prewarm_s, 0.0)


def _grace_s(windows: Windows) -> float:
    return min(GRACE_S, windows.prewarm_s)


def _bin_at(bins: Sequence[int], count: float) -> int:
    """The bin that holds the idle time with so many before it."""
    so_far = 0
    for index, each in enumerate(bins):
        so_far += each
        if each and so_far >= count:
            return index
    return len(bins) - 1


class _Rhythm:
    """What is known of one function."""

    __slots__ = ("beyond", "bins", "calls", "idle_since", "reckoned_at", "seen", "windows")

    def __init__(self) -> None:
        self.bins = array("H", bytes(2 * BINS))
        self.beyond = 0
        self.seen = 0
        # How many idle times there will be when the windows are reckoned anew.
        self.reckoned_at = IDLE_TIMES_MIN
        self.calls = 0
        # Since when no call is in flight.
        self.idle_since: float | None = None
        self.windows: Windows | None = None

    def add(self, idle_s: float, bounds: KeepAlive) -> None:
        index = int(idle_s // BIN_S)
        if index < BINS:
            self.bins[index] += 1
        else:
            self.beyond += 1
        self.seen += 1
        if self.seen >= HALVED_AT:
            self.bins = array("H", (each // 2 for each in self.bins))
            self.beyond //= 2
            self.seen = sum(self.bins) + self.beyond
            self.reckoned_at = self.seen
        if self.seen >= self.reckoned_at:
            self.windows = windows_of(self.bins, self.beyond, bounds)
            self.reckoned_at = self.seen + 1 + self.seen // RECKONED_PART


class Rhythms:
    """The functions of one engine, by service, version and function."""

    def __init__(self, bounds: KeepAlive) -> None:
        self._bounds = bounds
        self._known: OrderedDict[Name, _Rhythm] = OrderedDict()

    def began(self, name: Name, now: float) -> None:
        """A call came; `now` and all other times are of one monotonic clock."""
        rhythm = self._known.get(name)
        if rhythm is None:
            rhythm = self._known[name] = _Rhythm()
            self._forget()
        self._known.move_to_end(name)
        if rhythm.idle_since is not None:
            rhythm.add(now - rhythm.idle_since, self._bounds)
            rhythm.idle_since = None
        rhythm.calls += 1

    def ended(self, name: Name, now: float) -> None:
        rhythm = self._known.get(name)
        if rhythm is not None:
            rhythm.calls -= 1
            if not rhythm.calls:
                rhythm.idle_since = now

    def windows(self, name: Name) -> Windows | None:
        """What is learned; None where the fixed time holds."""
        rhythm = self._known.get(name)
        return None if rhythm is None else rhythm.windows

    def idle_since(self, name: Name) -> float | None:
        """Since when no call of it is in flight; None while one is, and where it was never called."""
        rhythm = self._known.get(name)
        return None if rhythm is None else rhythm.idle_since

    def _forget(self) -> None:
        if len(self._known) > FUNCTIONS_MAX:
            oldest = next((name for name, rhythm in self._known.items() if not rhythm.calls), None)
            if oldest is not None:
                del self._known[oldest]


def name_of(snapshot: Snapshot) -> Name:
    """New code of a function keeps its rhythm."""
    return snapshot.service, snapshot.version_id, snapshot.function
