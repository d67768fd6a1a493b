"""Every decision about asynchronous invocations: when to retry, how many run, and what is left to synchronous calls.

Pure functions of plain values, called by `engine.async_places`, `engine.async_calls` and `engine.async_pace`.
"""

from collections import Counter
from collections.abc import Callable, Sequence

import msgspec

from sesame.engine.policies import Caps, Taken, started_by
from sesame.model.snapshot import Snapshot

# POLICY: a function that failed is called again after up to 1 s, then 2 s, 4 s, … up to five minutes.
FUNCTION_RETRY_FIRST_S = 1.0
FUNCTION_RETRY_MAX_S = 300.0
# POLICY: an invocation that found no capacity, or failed because of this server, waits up to 0.5 s, then 1 s, 2 s, …
# (runtime.md §10). The cloud retries for five hours; here capacity is one machine's, and the event's maximum age bounds
# the total time.
THROTTLE_RETRY_FIRST_S = 0.5
THROTTLE_RETRY_MAX_S = 60.0
# POLICY: asynchronous calls use at most this share of the memory for instances and of a function's instance cap; the
# rest is left to synchronous calls. One asynchronous call of each function may always run. If an instance serves N
# calls at a time, each of them counts as an Nth of it.
ASYNC_CAPACITY_SHARE = 0.75
# POLICY: above this machine load, more asynchronous calls would only wait for each other.
BUSY_LOAD = 0.85
# POLICY: alongside synchronous calls, asynchronous ones load the machine only up to this point, because latency grows
# as idle time shrinks. Callers that keep the machine busy by themselves exceed it by far more than the sampling error.
BUSY_LOAD_BESIDE_CALLS = 0.5
# POLICY: how many calls per core run while the machine is busy and no synchronous calls are made.
CALLS_PER_CORE = 2
CALLS_MAX = 1024


def function_retry_s(errors: int, chance: float) -> float:
    """Seconds until the next call after `errors` (at least one) function errors, with full jitter: `chance` is in [0,
    1).
    """
    return _backoff_s(FUNCTION_RETRY_FIRST_S, FUNCTION_RETRY_MAX_S, errors, chance)


def throttle_retry_s(throttles: int, chance: float) -> float:
    """Seconds until the next attempt after the invocation could not be run `throttles` times (at least one)."""
    return _backoff_s(THROTTLE_RETRY_FIRST_S, THROTTLE_RETRY_MAX_S, throttles, chance)


def has_capacity(
    snapshot: Snapshot, running: Sequence[Snapshot], taken: Taken, caps: Caps, *, joins: bool = False
) -> bool:
    """Whether one more asynchronous call of `snapshot` may start without a provisioned instance.

    `running` are the asynchronous calls in flight. The call `joins` if an instance that counts already has room for it.
    """
    return function_has_capacity(snapshot, running, taken, caps, joins=joins) and machine_has_capacity(
        snapshot, running, taken, caps.memory_mb, joins=joins
    )


def function_has_capacity(
    snapshot: Snapshot, running: Sequence[Snapshot], taken: Taken, caps: Caps, *, joins: bool
) -> bool:
    """The part of `has_capacity` that concerns the function's caps, which hold across all machines.

    Of instances that serve several calls each, asynchronous calls use at most their share of the places.
    """
    bounds = (
        (snapshot.limits.instances, snapshot.version_id, taken.on_demand),
        (snapshot.limits.reserved, "", taken.of_all()),
        (caps.instances_per_function, "", taken.of_all()),
    )
    for cap, version_id, counted in bounds:
        if cap is None:
            continue
        if not joins and len(_own(counted, snapshot, version_id)) >= cap:
            return False
        own = _own(running, snapshot, version_id)
        if own and _parts([*own, snapshot], lambda _call: 1) > cap * ASYNC_CAPACITY_SHARE:
            return False
    return True


def machine_has_capacity(
    snapshot: Snapshot, running: Sequence[Snapshot], taken: Taken, cap_mb: int, *, joins: bool
) -> bool:
    """The part of `has_capacity` that concerns one machine; `running` and `taken` are those on that machine."""
    if not joins and _memory_mb(taken.of_all()) + snapshot.limits.memory_mb > cap_mb:
        return False
    if not running:
        return True
    share_mb = cap_mb * ASYNC_CAPACITY_SHARE
    before_mb, after_mb = _memory_mb(started_by(running)), _memory_mb(started_by([*running, snapshot]))
    if after_mb <= share_mb:
        return True
    # The instance of the one call that may always run can exceed the share; others use their share of its places.
    return after_mb == before_mb and _parts([*running, snapshot], lambda call: call.limits.memory_mb) <= share_mb


class Candidate(msgspec.Struct, frozen=True):
    """An agent that could run a call: its `idle` instances for that call and the asynchronous `calls` it runs.

    `memory_left_mb` belongs to the agent's machine.
    """

    idle: int
    calls: int
    memory_left_mb: int


def best(candidates: Sequence[Candidate]) -> int:
    """Returns the index of the agent that should run a call.

    POLICY: prefer an agent with a warm instance, as for synchronous calls, then the machine with the most memory left.
    Break ties in favour of the agent with the fewest asynchronous calls, to spread them, and then of the first one.
    """

    def worth(at: int) -> tuple[bool, int, int]:
        each = candidates[at]
        return each.idle > 0, 0 if each.idle > 0 else each.memory_left_mb, -each.calls

    return max(range(len(candidates)), key=worth)


def has_ample_capacity(snapshot: Snapshot, calls: int, memory_mb: int, caps: Caps) -> bool:
    """A cheap sufficient condition for `has_capacity`, which need not look at individual calls.

    `calls` and `memory_mb` are upper bounds of the calls and idle instances of all functions, and of their memory.
    """
    for cap in (snapshot.limits.instances, snapshot.limits.reserved, caps.instances_per_function):
        if cap is not None and calls >= int(cap * ASYNC_CAPACITY_SHARE):
            return False
    return memory_mb + snapshot.limits.memory_mb <= caps.memory_mb * ASYNC_CAPACITY_SHARE


def is_busy(load: float, *, synchronous: bool) -> bool:
    """Whether the machine has no time left for asynchronous calls; beside synchronous ones, the threshold is lower."""
    return load >= (BUSY_LOAD_BESIDE_CALLS if synchronous else BUSY_LOAD)


def next_limit(limit: int, load: float, *, cores: int, synchronous: bool) -> int:
    """How many asynchronous calls may run from now on. Asked while more calls are waiting than may run.

    Alongside synchronous calls: one more while the machine has time left, half as many (at least one) while it is busy
    (additive increase, multiplicative decrease). Otherwise: twice as many, or half as many, but always enough to keep
    every core busy.
    """
    busy = is_busy(load, synchronous=synchronous)
    if synchronous:
        return max(1, limit // 2) if busy else min(limit + 1, CALLS_MAX)
    low_limit = cores * CALLS_PER_CORE
    return max(low_limit, limit // 2) if busy else min(max(2 * limit, low_limit), CALLS_MAX)


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


def _parts(calls: Sequence[Snapshot], size: Callable[[Snapshot], int]) -> float:
    """The sum of the sizes of `calls`, where each of N calls that an instance can serve counts as its Nth part."""
    sizes = Counter[int]()
    for each in calls:
        sizes[each.limits.concurrency] += size(each)
    return sum(total / concurrency for concurrency, total in sizes.items())


def _memory_mb(calls: Sequence[Snapshot]) -> int:
    return sum(call.limits.memory_mb for call in calls)
