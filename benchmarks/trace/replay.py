"""Replays a trace against the engine's own decisions about keep-alive, without an engine.

Used by the benchmark of keep-alive and by its test, which compares it with a real pool. Functions do not compete for
memory here, so each is replayed by itself.
"""

import heapq
from collections.abc import Iterable

import msgspec

from benchmarks.trace.azure2019 import Function
from sesame.engine.keep_alive import KeepAlive, Rhythms, Windows, is_kept, kept_s

MINUTE_S = 60.0


class Result(msgspec.Struct):
    """Of one policy over one trace. `memory_mb_s` is of all that was started, while it ran or waited."""

    calls: int = 0
    cold: int = 0
    memory_mb_s: float = 0.0
    # Started ahead of a call.
    prewarmed: int = 0

    def add(self, other: "Result") -> None:
        self.calls += other.calls
        self.cold += other.cold
        self.memory_mb_s += other.memory_mb_s
        self.prewarmed += other.prewarmed


def arrivals(function: Function) -> Iterable[float]:
    """Seconds since the beginning: the calls of a minute come at even distances in it."""
    for minute, count in enumerate(function.per_minute):
        for index in range(count):
            yield (minute + (index + 0.5) / count) * MINUTE_S


def replay(function: Function, policy: KeepAlive) -> Result:
    """As `engine.pool` does it: the instance used last is taken; it follows what was learned, others the fixed time."""
    return _Replay(function, policy).run()


class _Replay:
    def __init__(self, function: Function, policy: KeepAlive) -> None:
        self._function = function
        self._policy = policy
        self._rhythms = Rhythms(policy)
        self._name = (function.owner, function.app, function.name)
        # When each that runs will be idle.
        self._busy: list[float] = []
        # Since when each that is idle is so, the last one at the end.
        self._idle: list[float] = []
        self._result = Result()
        self._held_s = 0.0

    def run(self) -> Result:
        end = len(self._function.per_minute) * MINUTE_S
        for at in arrivals(self._function):
            self._until(at)
            self._call(at)
        self._until(end)
        for since in self._idle:
            self._held_s += end - since
        self._held_s -= sum(max(each - end, 0.0) for each in self._busy)
        self._result.memory_mb_s = self._held_s * self._function.memory_mb
        return self._result

    def _call(self, at: float) -> None:
        result, duration_s = self._result, self._function.duration_s
        self._rhythms.began(self._name, at)
        result.calls += 1
        if self._idle:
            self._held_s += at - self._idle.pop()
        else:
            result.cold += 1
        self._held_s += duration_s
        heapq.heappush(self._busy, at + duration_s)

    def _until(self, at: float) -> None:
        """Calls that end become idle instances, and those that nobody took go."""
        while self._busy and self._busy[0] <= at:
            ended = heapq.heappop(self._busy)
            self._rhythms.ended(self._name, ended)
            self._idle.append(ended)
        windows = self._rhythms.windows(self._name) if self._policy.learned and not self._busy else None
        last = self._idle.pop() if self._idle and windows is not None else None
        while self._idle and at - self._idle[0] >= self._policy.fixed_s:
            self._idle.pop(0)
            self._held_s += self._policy.fixed_s
        if last is not None and windows is not None:
            self._keep_last(last, at, windows)

    def _keep_last(self, since: float, at: float, windows: Windows) -> None:
        idle_s = at - since
        if is_kept(idle_s, windows):
            self._idle.append(since)
            held_s = kept_s(idle_s, windows)
            if held_s < idle_s:
                # It went and came back: what it was not there for is not held.
                self._held_s -= idle_s - held_s
                self._result.prewarmed += 1
        else:
            self._held_s += kept_s(idle_s, windows)
            self._result.prewarmed += windows.prewarm_s > 0 and idle_s >= windows.keep_s
