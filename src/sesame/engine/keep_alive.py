"""How long an instance is kept for a function's next call, learned from the times between its calls.

Used by `engine.pool` and `engine.prewarming` where learning is enabled. Follows the hybrid histogram of "Serverless in
the Wild" (Shahrad et al., USENIX ATC 2020): a low percentile of the idle times, in minutes, is how long no instance is
needed. How long one is kept depends on the cost of waiting. Independent of instances and clocks.
"""

import math
from array import array
from collections import OrderedDict
from collections.abc import Sequence

import msgspec

from sesame.model.snapshot import Snapshot

BIN_S = 60.0
# Four hours, as in the paper: a function called less often is not worth an idle instance.
BINS = 240
# POLICY: the next call is expected after this quantile of the idle times.
HEAD = 0.05
# POLICY: avoiding a cold start is worth this many times `fixed_s` of an idle instance's time. The paper keeps instances
# until the 99th percentile whatever that costs, which is too much for functions that are rarely called.
WORTH = 1.5
# POLICY: the window is widened by this share at both ends, to allow for idle times not seen yet.
MARGIN = 0.1
# POLICY: a histogram is used once it holds this many idle times, if at most this share of them lies beyond its bins and
# they are less evenly spread than chance would have it (measured by the bins' coefficient of variation).
IDLE_TIMES_MIN = 10
BEYOND_SHARE_MAX = 0.5
VARIATION_MIN = 2.0
# POLICY: an instance is ended until the window begins only if that saves this much idle time.
UNLOADED_S_MIN = 120.0
# POLICY: an instance that is ended until the window begins is kept this long first, for calls that follow at once.
GRACE_S = 10.0
# POLICY: to follow a changing rhythm, all counts are halved at this many idle times.
HALVED_AT = 4096
# POLICY: the windows are recomputed once the idle times have grown by 1/16, so that frequent calls rarely pay for it.
RECKONED_PART = 16
# POLICY: beyond this many functions, the one not called for longest is forgotten. Each takes about a kilobyte.
FUNCTIONS_MAX = 20_000

Name = tuple[str, str, str]


class KeepAlive(msgspec.Struct, frozen=True):
    """Bounds of the keep-alive time.

    `fixed_s` applies where nothing is learned, the other two bound what is learned.
    """

    fixed_s: float
    learned: bool = False
    least_s: float = BIN_S
    most_s: float = BINS * BIN_S


class Windows(msgspec.Struct, frozen=True):
    """Seconds since a function's last call ended: an instance is needed from `prewarm_s` until `keep_s`."""

    prewarm_s: float
    keep_s: float


def windows_of(bins: Sequence[int], beyond: int, bounds: KeepAlive) -> Windows | None:
    """Computes the windows from a histogram of idle times in minutes; None if it is not conclusive yet.

    `beyond` counts the idle times longer than the histogram reaches.
    """
    seen = sum(bins)
    if seen + beyond < IDLE_TIMES_MIN or beyond > BEYOND_SHARE_MAX * (seen + beyond):
        return None
    mean = seen / len(bins)
    variance = sum((each - mean) ** 2 for each in bins) / len(bins)
    if math.sqrt(variance) < VARIATION_MIN * mean:
        return None
    head, worth_s = _bin_at(bins, HEAD * seen), WORTH * bounds.fixed_s
    # Either the instance is ended until the window begins, or it is kept throughout.
    choices = [_best(bins, beyond, head * (1 - MARGIN), worth_s), _best(bins, beyond, 0.0, worth_s)]
    prewarm_s, keep_s, _gain_s = max(choices, key=lambda each: each[2])
    keep_s = min(max(keep_s * (1 + MARGIN), bounds.least_s), bounds.most_s)
    return Windows(prewarm_s if UNLOADED_S_MIN <= prewarm_s < keep_s else 0.0, keep_s)


def _best(bins: Sequence[int], beyond: int, first: float, worth_s: float) -> tuple[float, float, float]:
    """Finds the end of waiting with the highest gain, starting at bin `first`. Returns start, end and gain in seconds.

    Waiting for a call costs the time waited, and gains `worth_s` if the call arrives meanwhile.
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
    """Whether the function's last instance is kept `idle_s` seconds after its last call ended."""
    return idle_s < _grace_s(windows) or windows.prewarm_s <= idle_s < windows.keep_s


def kept_s(idle_s: float, windows: Windows) -> float:
    """For how much of `idle_s` an instance was kept under `is_kept`."""
    first_s = min(idle_s, _grace_s(windows))
    return first_s + max(min(idle_s, windows.keep_s) - windows.prewarm_s, 0.0)


def _grace_s(windows: Windows) -> float:
    return min(GRACE_S, windows.prewarm_s)


def _bin_at(bins: Sequence[int], count: float) -> int:
    """The bin in which the cumulative count reaches `count`."""
    so_far = 0
    for index, each in enumerate(bins):
        so_far += each
        if each and so_far >= count:
            return index
    return len(bins) - 1


class _Rhythm:
    """What is known about the calls of one function."""

    __slots__ = ("beyond", "bins", "calls", "idle_since", "reckoned_at", "seen", "windows")

    def __init__(self) -> None:
        self.bins = array("H", bytes(2 * BINS))
        self.beyond = 0
        self.seen = 0
        # The windows are recomputed once `seen` reaches this.
        self.reckoned_at = IDLE_TIMES_MIN
        self.calls = 0
        # Since when no call has been in flight; None while one is.
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
    """The rhythms of one engine's functions, by service, version and function."""

    def __init__(self, bounds: KeepAlive) -> None:
        self._bounds = bounds
        self._known: OrderedDict[Name, _Rhythm] = OrderedDict()

    def began(self, name: Name, now: float) -> None:
        """A call has arrived. `now` is a monotonic time, as are all times here."""
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
        """The learned windows; None while the fixed time applies."""
        rhythm = self._known.get(name)
        return None if rhythm is None else rhythm.windows

    def idle_since(self, name: Name) -> float | None:
        """Since when no call has been in flight; None while one is, and for an unknown function."""
        rhythm = self._known.get(name)
        return None if rhythm is None else rhythm.idle_since

    def _forget(self) -> None:
        if len(self._known) > FUNCTIONS_MAX:
            oldest = next((name for name, rhythm in self._known.items() if not rhythm.calls), None)
            if oldest is not None:
                del self._known[oldest]


def name_of(snapshot: Snapshot) -> Name:
    """Without the code's hash, so that a function keeps its rhythm when its code changes."""
    return snapshot.service, snapshot.version_id, snapshot.function
