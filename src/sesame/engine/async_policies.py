"""Every decision about asynchronous invocations: when one is tried again, how many run, what synchronous calls keep.

Pure functions of plain values, called by `engine.async_places`, `engine.async_calls` and `engine.async_pace`.
"""

from collections.abc import Sequence

import msgspec

from sesame.engine.policies import Caps, Taken
from sesame.model.snapshot import Snapshot

# POLICY: a function that failed is called again after up to 1 s, then 2 s, 4 s, … up to five minutes.
FUNCTION_RETRY_FIRST_S = 1.0
FUNCTION_RETRY_MAX_S = 300.0
# POLICY: what found no capacity, or failed through this server, waits up to 0.5 s, then 1 s, 2 s, … (runtime.md §10).
# The cloud goes on for five hours; here capacity is one machine's, and an event's age bounds the time in all.
THROTTLE_RETRY_FIRST_S = 0.5
THROTTLE_RETRY_MAX_S = 60.0
# POLICY: asynchronous calls take at most so much of the memory for instances and of a function's instances; the rest
# is left to synchronous calls. One asynchronous call of a function may always run.
ASYNC_CAPACITY_SHARE = 0.75
# POLICY: above this load of the machine, more asynchronous calls would only wait for each other.
BUSY_LOAD = 0.85
# POLICY: beside synchronous calls they fill the machine up to this load: what is called waits the longer the less time
# the machine has left. Callers that keep it at work by themselves load it by far more, whatever a sample errs by.
BUSY_LOAD_BESIDE_CALLS = 0.5
# POLICY: while it is busy and nothing is called synchronously, so many run at a time for each core.
CALLS_PER_CORE = 2
CALLS_MAX = 1024


def function_retry_s(errors: int, chance: float) -> float:
    """Seconds until the next call after so many function errors (at least one), with full jitter."""
    return _backoff_s(FUNCTION_RETRY_FIRST_S, FUNCTION_RETRY_MAX_S, errors, chance)


def throttle_retry_s(throttles: int, chance: float) -> float:
    """Seconds until the next try after an invocation could not be run so many times (at least one)."""
    return _backoff_s(THROTTLE_RETRY_FIRST_S, THROTTLE_RETRY_MAX_S, throttles, chance)


def has_capacity(snapshot: Snapshot, running: Sequence[Snapshot], taken: Taken, caps: Caps) -> bool:
    """Whether one more asynchronous call of `snapshot` may start, where no provisioned instance waits for it.

    `running` are the asynchronous calls in flight.
    """
    return function_has_capacity(snapshot, running, taken, caps) and machine_has_capacity(
        snapshot, running, taken, caps.memory_mb
    )


def function_has_capacity(snapshot: Snapshot, running: Sequence[Snapshot], taken: Taken, caps: Caps) -> bool:
    """Of what `has_capacity` says, what the function's caps allow: these hold over all machines."""
    bounds = (
        (snapshot.limits.instances, snapshot.version_id, taken.on_demand),
        (caps.instances_per_function, "", taken.of_all()),
    )
    return all(
        len(_own(counted, snapshot, version_id)) < cap
        and len(_own(running, snapshot, version_id)) < max(1, int(cap * ASYNC_CAPACITY_SHARE))
        for cap, version_id, counted in bounds
        if cap is not None
    )


def machine_has_capacity(snapshot: Snapshot, running: Sequence[Snapshot], taken: Taken, cap_mb: int) -> bool:
    """Of what `has_capacity` says, what one machine has: `running` and `taken` are of that one."""
    memory_mb = snapshot.limits.memory_mb
    if _memory_mb(taken.of_all()) + memory_mb > cap_mb:
        return False
    return not running or _memory_mb(running) + memory_mb <= cap_mb * ASYNC_CAPACITY_SHARE


class Candidate(msgspec.Struct, frozen=True):
    """An agent that may run a call: `idle` instances wait there for it, `calls` asynchronous ones run there.

    `memory_left_mb` is of its machine.
    """

    idle: int
    calls: int
    memory_left_mb: int


def best(candidates: Sequence[Candidate]) -> int:
    """Which of several agents runs a call, by its position.

    POLICY: warmth first, as for synchronous calls; else the machine that has the most memory left. Of those that are
    alike, the agent where the fewest asynchronous calls run, so that they spread; of those still alike, the first.
    """

    def worth(at: int) -> tuple[bool, int, int]:
        each = candidates[at]
        return each.idle > 0, 0 if each.idle > 0 else each.memory_left_mb, -each.calls

    return max(range(len(candidates)), key=worth)


def has_ample_capacity(snapshot: Snapshot, calls: int, memory_mb: int, caps: Caps) -> bool:
    """Whether `has_capacity` is true for certain, without a look at the calls.

    There are at most so many calls and idle instances, of whatever functions, and they have at most so much memory.
    """
    for cap in (snapshot.limits.instances, caps.instances_per_function):
        if cap is not None and calls >= int(cap * ASYNC_CAPACITY_SHARE):
            return False
    return memory_mb + snapshot.limits.memory_mb <= caps.memory_mb * ASYNC_CAPACITY_SHARE


def is_busy(load: float, *, synchronous: bool) -> bool:
    """Whether the machine has no time left for more asynchronous calls; beside synchronous ones that is so sooner."""
    return load >= (BUSY_LOAD_BESIDE_CALLS if synchronous else BUSY_LOAD)


def next_limit(limit: int, load: float, *, cores: int, synchronous: bool) -> int:
    """How many asynchronous calls may run from now on.

    Asked while more is to run than may run. Beside synchronous calls: one more while the machine has time left, half as
    many while it is busy, down to one (additive increase, multiplicative decrease). Without them: twice as many, or
    half as many down to what keeps every core at work.
    """
    busy = is_busy(load, synchronous=synchronous)
    if synchronous:
        return max(1, limit // 2) if busy else min(limit + 1, CALLS_MAX)
    least = cores * CALLS_PER_CORE
    return max(least, limit // 2) if busy else min(max(2 * limit, least), CALLS_MAX)


def _backoff_s(first_s: float, most_s: float, times: int, chance: float) -> float:
    return chance * min(first_s * 2.0 ** min(times - 1, 32), most_s)


def _own(calls: Sequence[Snapshot], snapshot: Snapshot, version_id: str) -> list[Snapshot]:
    return [
        call
        for call in calls
        if call.service == snapshot.service
        and call.function == snapshot.function
        and (not version_id or call.version_id == version_id)
    ]


def _memory_mb(calls: Sequence[Snapshot]) -> int:
    return sum(call.limits.memory_mb for call in calls)
