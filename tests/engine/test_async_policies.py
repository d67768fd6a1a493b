"""When asynchronous invocations are tried again, how many run, and what is left to synchronous calls."""

import pytest
from tests.engine.conftest import Engine

from sesame.engine.async_policies import (
    ASYNC_CAPACITY_SHARE,
    BUSY_LOAD,
    BUSY_LOAD_BESIDE_CALLS,
    CALLS_MAX,
    FUNCTION_RETRY_MAX_S,
    THROTTLE_RETRY_MAX_S,
    function_retry_s,
    has_ample_capacity,
    has_capacity,
    next_limit,
    throttle_retry_s,
)
from sesame.engine.policies import Caps, Taken
from sesame.model import limits, records
from sesame.model.function_state import FunctionState
from sesame.model.invocation import Target

ALMOST_ONE = 0.999999


def test_function_errors_wait_twice_as_long_each_time_up_to_a_most_with_full_jitter() -> None:
    most = [function_retry_s(errors, ALMOST_ONE) for errors in range(1, 12)]
    assert most[:4] == pytest.approx([1, 2, 4, 8], rel=1e-3)
    assert most[-1] == pytest.approx(FUNCTION_RETRY_MAX_S, rel=1e-3)
    assert function_retry_s(5, 0.0) == 0.0


def test_throttling_waits_from_half_a_second_up_to_a_most() -> None:
    most = [throttle_retry_s(times, ALMOST_ONE) for times in (1, 2, 3, 1_000_000)]
    assert most == pytest.approx([0.5, 1, 2, THROTTLE_RETRY_MAX_S], rel=1e-3)


def test_a_quarter_of_a_functions_instances_is_left_to_synchronous_calls(engine: Engine) -> None:
    snapshot = engine.resolver.resolve(Target("s", limits.LATEST, "f"))
    caps = Caps(instances_per_function=4, memory_mb=10_000, starts_at_once=2, keep_alive_s=300)
    assert has_capacity(snapshot, [snapshot] * 2, Taken([snapshot] * 2), caps)
    assert not has_capacity(snapshot, [snapshot] * 3, Taken([snapshot] * 3), caps)
    assert not has_capacity(snapshot, [], Taken([snapshot] * 4), caps), "synchronous calls use the whole cap"


def test_a_quarter_of_the_memory_is_left_to_synchronous_calls(engine: Engine) -> None:
    snapshot = engine.resolver.resolve(Target("s", limits.LATEST, "f"))
    caps = Caps(instances_per_function=100, memory_mb=4 * 128, starts_at_once=2, keep_alive_s=300)
    assert has_capacity(snapshot, [snapshot] * 2, Taken([snapshot] * 2), caps)
    assert not has_capacity(snapshot, [snapshot] * 3, Taken([snapshot] * 3), caps)


def test_one_asynchronous_call_may_run_whatever_the_cap(engine: Engine) -> None:
    snapshot = engine.resolver.resolve(Target("s", limits.LATEST, "f"))
    caps = Caps(instances_per_function=1, memory_mb=128, starts_at_once=2, keep_alive_s=300)
    assert has_capacity(snapshot, [], Taken([]), caps)
    assert not has_capacity(snapshot, [snapshot], Taken([snapshot]), caps)


@pytest.mark.parametrize(("cap", "most"), [(1, 7), (2, 15), (4, 30)])
def test_of_instances_that_serve_several_calls_a_quarter_of_the_places_is_left(
    engine: Engine, cap: int, most: int
) -> None:
    engine.deploy(runtime="custom", instance_concurrency=10)
    snapshot = engine.resolver.resolve(Target("s", limits.LATEST, "f"))
    caps = Caps(instances_per_function=cap, memory_mb=10_000, starts_at_once=2, keep_alive_s=300)
    full = Taken([snapshot] * cap)
    assert has_capacity(snapshot, [snapshot] * (most - 1), full, caps, joins=True)
    assert not has_capacity(snapshot, [snapshot] * most, full, caps, joins=True)
    assert not has_capacity(snapshot, [snapshot], full, caps), "it would need another instance"


def test_calls_that_share_an_instance_share_its_memory(engine: Engine) -> None:
    engine.deploy(runtime="custom", instance_concurrency=10)
    snapshot = engine.resolver.resolve(Target("s", limits.LATEST, "f"))

    def caps(instances: int) -> Caps:
        return Caps(instances_per_function=100, memory_mb=128 * instances, starts_at_once=2, keep_alive_s=300)

    assert has_capacity(snapshot, [snapshot] * 29, Taken([snapshot] * 3), caps(4), joins=True)
    assert not has_capacity(snapshot, [snapshot] * 30, Taken([snapshot] * 3), caps(4)), "the fourth is for others"
    # A single one is there for all.
    assert has_capacity(snapshot, [snapshot] * 6, Taken([snapshot]), caps(1), joins=True)
    assert not has_capacity(snapshot, [snapshot] * 7, Taken([snapshot]), caps(1), joins=True)


def test_a_quarter_of_reserved_instances_is_left_to_synchronous_calls(engine: Engine) -> None:
    engine.catalog.put(records.FUNCTION_STATE, "s", "f", FunctionState(reserved_concurrency=4))
    snapshot = engine.resolver.resolve(Target("s", limits.LATEST, "f"))
    caps = Caps(instances_per_function=100, memory_mb=100_000, starts_at_once=2, keep_alive_s=300)
    assert has_ample_capacity(snapshot, 2, 256, caps)
    assert has_capacity(snapshot, [snapshot] * 2, Taken([snapshot] * 2), caps)
    assert not has_ample_capacity(snapshot, 3, 384, caps)
    assert not has_capacity(snapshot, [snapshot] * 3, Taken([snapshot] * 3), caps)


@pytest.mark.parametrize("cap", [1, 4, 10])
@pytest.mark.parametrize("memory_mb", [128, 1024, 10_000])
def test_ample_capacity_is_capacity(engine: Engine, cap: int, memory_mb: int) -> None:
    snapshot = engine.resolver.resolve(Target("s", limits.LATEST, "f"))
    caps = Caps(instances_per_function=cap, memory_mb=memory_mb, starts_at_once=2, keep_alive_s=300)
    ample = [
        calls for calls in range(12) if has_ample_capacity(snapshot, calls, calls * snapshot.limits.memory_mb, caps)
    ]
    assert ample == list(range(len(ample))), "only more calls make it doubtful"
    assert all(has_capacity(snapshot, [snapshot] * calls, Taken([snapshot] * calls), caps) for calls in ample)
    assert bool(ample) == (cap > 1 and memory_mb * ASYNC_CAPACITY_SHARE >= snapshot.limits.memory_mb)


def test_more_run_while_the_machine_has_time_and_fewer_while_it_is_busy() -> None:
    def limit(now: int, load: float, *, synchronous: bool) -> int:
        return next_limit(now, load, cores=2, synchronous=synchronous)

    assert limit(4, 0.2, synchronous=False) == 8
    assert limit(CALLS_MAX, 0.2, synchronous=False) == CALLS_MAX
    assert limit(64, BUSY_LOAD, synchronous=False) == 32
    assert limit(4, 1.0, synchronous=False) == 4, "two calls for each core run on a busy machine"
    assert limit(1, 1.0, synchronous=False) == 4
    assert limit(1, 0.1, synchronous=False) == 4, "no slow start once synchronous calls are over"


def test_beside_synchronous_calls_one_more_runs_while_there_is_time_and_half_as_many_once_there_is_none() -> None:
    def limit(now: int, load: float) -> int:
        return next_limit(now, load, cores=2, synchronous=True)

    assert limit(1, 0.1) == 2
    assert limit(CALLS_MAX, 0.1) == CALLS_MAX
    assert limit(64, BUSY_LOAD_BESIDE_CALLS) == 32
    assert limit(64, BUSY_LOAD_BESIDE_CALLS - 0.01) == 65
    assert limit(1, 1.0) == 1, "the queue never stands still"
