"""Several calls at a time in one instance: room, bursts, deadlines, cancellations and ends, on fakes."""

import asyncio
from typing import Any

import pytest
from tests.engine.conftest import Engine, build, settle
from tests.support.fakes import FakeSandbox

from sesame.engine.instance import State
from sesame.engine.policies import Caps
from sesame.engine.readying import Readying
from sesame.model import limits, records
from sesame.model.configs import OnDemandConfig
from sesame.model.errors import Exhausted
from sesame.model.invocation import Credentials, Outcome, Target
from sesame.sandbox.interface import Call, Reply, SandboxDied

ROOM = 3
TARGET = Target("s", limits.LATEST, "f")


def shared(**changes: Any) -> Engine:
    engine = build(Caps(instances_per_function=2, memory_mb=10_000, starts_at_once=2, keep_alive_s=300))
    engine.deploy(runtime="custom", instance_concurrency=ROOM, **changes)
    engine.driver.behaviour = answers
    return engine


def answers(sandbox: FakeSandbox, call: Call) -> Reply | None:
    """An event "hang" is not answered before the test says so."""
    return None if call.payload.startswith(b"hang") else Reply(True, b"done")


async def hang(engine: Engine, count: int) -> list["asyncio.Task[Outcome]"]:
    calls = [asyncio.create_task(engine.call(event=b"hang %d" % number)) for number in range(count)]
    await settle()
    return calls


async def finish(engine: Engine, calls: list["asyncio.Task[Outcome]"]) -> list[Outcome]:
    for call in calls:
        call.cancel()
    await asyncio.wait(calls)
    await settle()
    return [call.result() for call in calls if not call.cancelled()]


async def test_an_instance_takes_calls_until_it_is_full() -> None:
    engine = shared()
    calls = await hang(engine, ROOM)
    assert len(engine.driver.made) == 1
    calls += await hang(engine, 1)
    assert len(engine.driver.made) == 2
    assert sorted(instance.calls for instance in engine.pool.instances()) == [1, ROOM]
    calls += await hang(engine, 1)
    assert sorted(instance.calls for instance in engine.pool.instances()) == [2, ROOM]
    calls += await hang(engine, 1)
    with pytest.raises(Exhausted, match="limit of 2 instances"):
        await engine.call()
    await finish(engine, calls)
    assert [instance.state for instance in engine.pool.instances()] == [State.IDLE] * 2


async def test_a_burst_waits_for_the_instance_that_it_fills() -> None:
    engine = shared(initializer="any.thing")
    outcomes = await asyncio.gather(*(engine.call() for _ in range(ROOM)))
    assert len(engine.driver.made) == 1
    assert [outcome.cold for outcome in outcomes].count(True) == 1
    kinds = [call.kind for call in engine.driver.made[0].calls]
    assert sorted(kinds) == ["initialize", *["invoke"] * ROOM]
    assert kinds[0] == "initialize"


async def test_a_burst_survives_a_start_that_fails() -> None:
    engine = shared(initializer="any.thing")

    def first_fails(sandbox: FakeSandbox, call: Call) -> Reply | SandboxDied:
        if sandbox is engine.driver.made[0]:
            return SandboxDied("exit")
        return Reply(True, b"done")

    engine.driver.behaviour = first_fails
    outcomes = await asyncio.gather(*(engine.call() for _ in range(ROOM)))
    assert [outcome.error is None for outcome in outcomes].count(False) == 1
    assert len(engine.driver.made) == 2


async def test_a_call_that_takes_too_long_is_given_up_alone() -> None:
    engine = shared(timeout=10)
    (late,) = await hang(engine, 1)
    engine.clocks.advance(6)
    (other,) = await hang(engine, 1)
    engine.clocks.advance(5)
    outcome = await late
    assert outcome.error is not None
    assert outcome.error.reason == "timeout"
    assert not other.done()
    assert (await engine.call()).instance_id != outcome.instance_id, "what hangs takes no more calls"
    assert engine.driver.made[0].alive
    await finish(engine, [other])
    assert not engine.driver.made[0].alive, "it ends with the last of its calls"


async def test_a_cancelled_call_leaves_the_others_and_the_instance() -> None:
    engine = shared()
    first, second = await hang(engine, 2)
    await finish(engine, [first])
    assert not second.done()
    assert engine.driver.made[0].alive
    assert (await engine.call()).payload == b"done"
    assert len(engine.driver.made) == 1
    await finish(engine, [second])


async def test_a_caller_that_leaves_as_the_time_passes_has_left() -> None:
    engine = shared(timeout=10)
    late, other = await hang(engine, 2)
    late.cancel()
    engine.clocks.advance(11)
    await asyncio.wait([late, other])
    assert late.cancelled()
    assert late.cancelling() == 1
    error = other.result().error
    assert error is not None
    assert (error.reason, other.cancelling()) == ("timeout", 0)


async def test_calls_one_after_the_other_need_no_more_timers_than_calls_at_a_time() -> None:
    engine = shared(timeout=10)
    before = len(engine.clocks.timers)
    for _ in range(5):
        await finish(engine, await hang(engine, ROOM))
        assert (await engine.call()).error is None
    assert len([timer for timer in engine.clocks.timers if not timer.cancelled]) <= before + ROOM + 1


async def test_an_end_ends_every_call() -> None:
    engine = shared()
    calls = await hang(engine, 1)

    def dies(_sandbox: FakeSandbox, _call: Call) -> SandboxDied:
        return SandboxDied("exit")

    engine.driver.behaviour = dies
    assert (await engine.call()).error is not None
    await settle()
    assert not engine.driver.alive
    engine.driver.behaviour = answers
    assert (await engine.call()).error is None
    await finish(engine, calls)


async def test_changed_functions_get_no_calls_in_old_instances() -> None:
    engine = shared()
    calls = await hang(engine, 1)
    engine.deploy(runtime="custom", instance_concurrency=ROOM, description="new")
    assert (await engine.call()).cold
    await finish(engine, calls)
    assert len(engine.driver.alive) == 1


async def test_one_whose_process_has_died_gets_no_call_while_it_ends() -> None:
    engine = shared()
    calls = await hang(engine, 1)
    engine.driver.made[0].death = SandboxDied("exit")
    assert (await engine.call()).cold
    await finish(engine, calls)


async def test_one_that_a_call_made_ready_meanwhile_is_not_made_ready_again() -> None:
    engine = shared(initializer="any.thing")
    engine.driver.behaviour = lambda _sandbox, _call: None
    (call,) = await hang(engine, 1)
    snapshot = engine.pool.instances()[0].snapshot
    readying = Readying(engine.pool, engine.clocks, lambda *_asked: Credentials("id", "secret", "token"))
    ahead = asyncio.create_task(readying.bring_up(snapshot, Target(snapshot.service, "LATEST", snapshot.function)))
    await settle()
    engine.driver.made[0].answer()
    await ahead
    (instance,) = engine.pool.instances()
    assert (instance.state, instance.calls) == (State.BUSY, 1)
    assert [each.kind for each in engine.driver.made[0].calls] == ["initialize", "invoke"]
    await finish(engine, [call])


async def test_a_large_event_is_read_if_a_running_instance_has_a_place_for_its_call() -> None:
    engine = shared()
    running = await hang(engine, 2 * ROOM - 2)
    with engine.local.announce(TARGET), engine.local.announce(TARGET):
        with pytest.raises(Exhausted, match="limit of 2 instances"), engine.local.announce(TARGET):
            raise AssertionError("announced")
    await finish(engine, running)
    announced = [engine.local.announce(TARGET) for _ in range(2 * ROOM)]
    for each in announced:
        each.__enter__()
    with pytest.raises(Exhausted), engine.local.announce(TARGET):
        raise AssertionError("announced")
    for each in announced:
        each.__exit__(None, None, None)


async def test_provisioned_instances_offer_every_place() -> None:
    engine = shared()
    resource = "services/s.LATEST/functions/f"
    engine.catalog.put(records.ON_DEMAND_CONFIG, "", resource, OnDemandConfig(resource, 0))
    readying = Readying(engine.pool, engine.clocks, lambda *_asked: Credentials())
    await readying.bring_up(engine.resolver.resolve(TARGET), TARGET, provisioned=True)
    has_capacity = engine.local.has_capacity_for_async
    assert has_capacity(TARGET, {}, {TARGET: ROOM - 1})
    assert not has_capacity(TARGET, {}, {TARGET: ROOM})
    running = await hang(engine, 1)
    assert has_capacity(TARGET, {TARGET: 1}, {TARGET: ROOM - 2})
    assert not has_capacity(TARGET, {TARGET: 1}, {TARGET: ROOM - 1})
    with engine.local.announce(TARGET):
        pass
    await finish(engine, running)
