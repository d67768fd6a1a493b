"""The pool: caps, eviction, keep-alive, turns at starting, deaths of idle instances, changes, closing.

Run by pytest.
Never starts a process and never waits for real time.
"""

import asyncio
from typing import Any

import msgspec
import pytest
from tests.engine.conftest import Engine, build, settle

from sesame.engine.instance import LEGAL_MOVES, Instance, State
from sesame.engine.policies import IDLE_PER_FREED, Caps
from sesame.model import limits, records
from sesame.model.configs import OnDemandConfig
from sesame.model.errors import Exhausted, PlatformError
from sesame.model.invocation import Target
from sesame.model.later_settings import LaterSettings
from sesame.model.service import Service
from sesame.sandbox.interface import KillReason, Reply, SandboxDied

CAPS = Caps(instances_per_function=2, memory_mb=512, starts_at_once=2, keep_alive_s=300)


def hanging(engine: Engine, count: int, name: str = "f") -> list["asyncio.Task[Any]"]:
    engine.driver.behaviour = lambda _sandbox, _call: None
    return [asyncio.create_task(engine.call(name)) for _ in range(count)]


async def test_the_cap_of_a_function_is_a_429_that_says_which() -> None:
    engine = build(CAPS)
    engine.deploy()
    tasks = hanging(engine, 2)
    await settle()
    with pytest.raises(Exhausted, match=r"function 'f' of service 's' has reached its limit of 2 instances"):
        await engine.call()
    for sandbox in engine.driver.made:
        sandbox.answer()
    await asyncio.gather(*tasks)


async def test_the_cap_of_memory_is_a_429_that_says_which() -> None:
    engine = build(CAPS)
    engine.deploy(memory_size=256)
    engine.deploy("g", memory_size=320)
    tasks = hanging(engine, 1)
    await settle()
    with pytest.raises(Exhausted, match=r"256 of 512 MB taken, 320 MB asked for"):
        await engine.call("g")
    engine.driver.made[0].answer()
    await asyncio.gather(*tasks)


async def test_idle_instances_are_evicted_the_longest_idle_first() -> None:
    engine = build(CAPS)
    for name in ("a", "b", "c"):
        engine.deploy(name, memory_size=192)
    await engine.call("a")
    engine.clocks.advance(1)
    await engine.call("b")
    engine.clocks.advance(1)
    await engine.call("c")
    names = sorted(sandbox.spec.setup["function"]["name"] for sandbox in engine.driver.alive)
    assert names == ["b", "c"]


async def test_an_on_demand_cap_counts_and_zero_refuses_every_call() -> None:
    engine = build(CAPS)
    engine.deploy()
    resource = "services/s.LATEST/functions/f"
    engine.catalog.put(
        records.ON_DEMAND_CONFIG, "", resource, OnDemandConfig(resource=resource, maximum_instance_count=0)
    )
    with pytest.raises(Exhausted, match="limit of 0 instances"):
        await engine.call()


async def test_an_idle_instance_ends_after_its_keep_alive_and_not_before() -> None:
    engine = build(CAPS)
    engine.deploy()
    await engine.call()
    engine.clocks.advance(299)
    await settle()
    assert len(engine.driver.alive) == 1
    engine.clocks.advance(2)
    await settle()
    assert not engine.driver.alive
    assert engine.pool.instances() == []


async def test_an_idle_instance_is_frozen_after_a_grace_and_thawed_for_its_next_call() -> None:
    engine = build(CAPS)
    engine.deploy()
    await engine.call()
    (sandbox,) = engine.driver.made
    engine.clocks.advance(0.5)
    assert not sandbox.frozen
    engine.clocks.advance(1.5)
    assert sandbox.frozen
    outcome = await engine.call()
    assert not outcome.cold
    assert not sandbox.frozen


async def test_an_instance_that_dies_while_idle_is_replaced() -> None:
    engine = build(CAPS)
    engine.deploy()
    await engine.call()
    engine.driver.made[0].die()
    await settle()
    assert engine.pool.instances() == []
    assert (await engine.call()).cold


async def test_an_idle_time_of_the_function_goes_before_the_servers() -> None:
    engine = build(CAPS)
    engine.deploy(later=LaterSettings(idle_timeout=20))
    engine.deploy("g", later=LaterSettings(idle_timeout=3000))
    await engine.call()
    await engine.call("g")
    for seconds, left in ((15, ["f", "g"]), (10, ["g"]), (2000, ["g"]), (2000, [])):
        for _ in range(max(seconds // 50, 1)):
            engine.clocks.advance(min(seconds, 50))
            await settle()
        alive = [sandbox.spec.setup["function"]["name"] for sandbox in engine.driver.alive]
        assert sorted(alive) == left, seconds


@pytest.mark.parametrize("cpu", [None, 0.5])
async def test_processors_that_a_function_names_reach_the_sandbox(cpu: float | None) -> None:
    engine = build(CAPS)
    engine.deploy(cpu=cpu)
    await engine.call()
    assert engine.driver.made[0].spec.cpu == cpu


@pytest.mark.parametrize("access", [True, False])
async def test_the_internet_access_of_the_service_reaches_the_sandbox(access: bool) -> None:
    engine = build(CAPS)
    engine.catalog.put(records.SERVICE, "", "s", Service(service_name="s", service_id="id", internet_access=access))
    engine.deploy()
    await engine.call()
    assert engine.driver.made[0].spec.internet == access


async def test_a_function_without_on_demand_instances_refuses_what_no_provisioned_one_serves() -> None:
    engine = build(CAPS)
    engine.deploy(later=LaterSettings(disable_ondemand=True))
    with pytest.raises(Exhausted, match="limit of 0 instances"):
        await engine.call()
    engine.deploy(later=LaterSettings(disable_ondemand=False))
    await engine.call()


async def test_concurrent_starts_are_bounded_and_a_burst_delays_no_other_function() -> None:
    engine = build(Caps(instances_per_function=50, memory_mb=10**6, starts_at_once=2, keep_alive_s=300))
    engine.deploy()
    engine.deploy("g")
    engine.driver.starts.closed = True
    tasks = hanging(engine, 20)
    await settle()
    tasks += hanging(engine, 1, "g")
    await settle()
    assert engine.driver.starting == ["f", "f"]
    for _ in range(3):
        engine.driver.starts.let_go()
        await settle()
        assert len(engine.driver.starting) == 2
    assert "g" in {sandbox.spec.setup["function"]["name"] for sandbox in engine.driver.made} | {*engine.driver.starting}
    engine.driver.starts.open()
    await settle()
    for sandbox in engine.driver.made:
        sandbox.answer()
    assert all(outcome.error is None for outcome in await asyncio.gather(*tasks))


async def test_a_call_waiting_for_a_start_slot_takes_an_instance_that_became_idle() -> None:
    engine = build(Caps(instances_per_function=9, memory_mb=10**6, starts_at_once=1, keep_alive_s=300))
    engine.deploy()
    (first,) = hanging(engine, 1)
    await settle()
    engine.driver.starts.closed = True
    tasks = hanging(engine, 2)
    await settle()
    engine.driver.made[0].answer()
    await first
    engine.driver.behaviour = lambda _sandbox, _call: Reply(True, b"fine")
    engine.driver.starts.let_go()
    outcomes = await asyncio.gather(*tasks)
    assert sorted(outcome.cold for outcome in outcomes) == [False, True]
    assert len(engine.pool.instances()) == 2


async def test_a_deleted_function_leaves_no_instance() -> None:
    engine = build(CAPS)
    engine.deploy()
    await engine.call()
    engine.catalog.delete("function", "s", "f")
    await settle()
    assert not engine.driver.alive


def test_every_other_move_of_an_instance_is_refused() -> None:
    engine = build(CAPS)
    engine.deploy()
    snapshot = engine.resolver.resolve(Target("s", limits.LATEST, "f"))
    for state in State:
        for to in State:
            instance = Instance(snapshot, "c-1", lambda *_: None, engine.clocks)
            instance.state = state
            if to in LEGAL_MOVES[state]:
                instance.move(to)
                assert instance.state is to
            else:
                with pytest.raises(AssertionError, match="illegal move"):
                    instance.move(to)


async def test_a_death_of_the_process_before_the_call_is_an_exit() -> None:
    engine = build(CAPS)
    engine.deploy()
    engine.driver.behaviour = lambda _sandbox, _call: SandboxDied("exit")
    outcome = await engine.call()
    assert outcome.error is not None
    assert outcome.error.reason == "exit"


async def test_the_tick_goes_on_after_a_young_instance_was_evicted() -> None:
    engine = build(CAPS)
    for name in ("a", "b", "c"):
        engine.deploy(name, memory_size=192)
        await engine.call(name)
    engine.clocks.advance(2)
    assert all(sandbox.frozen for sandbox in engine.driver.alive)
    engine.clocks.advance(300)
    await settle()
    assert not engine.driver.alive
    assert (engine.pool.counts.evicted, engine.pool.counts.expired) == (1, 2)


async def test_when_idle_instances_fill_the_memory_one_is_evicted_ahead_of_need() -> None:
    engine = build(msgspec.structs.replace(CAPS, memory_mb=IDLE_PER_FREED * 128))
    names = [f"f{number}" for number in range(IDLE_PER_FREED)]
    for name in names:
        engine.deploy(name, memory_size=128)
        await engine.call(name)
        engine.clocks.advance(0.01)
    await settle()
    assert engine.pool.counts.evicted == 1
    assert "f0" not in {i.snapshot.function for i in engine.pool.instances()}
    engine.deploy("another", memory_size=128)
    engine.driver.ends.closed = True
    assert (await engine.call("another")).error is None, "it waited for nobody's end"
    engine.driver.ends.open()
    await settle()
    assert len(engine.pool.instances()) == IDLE_PER_FREED - 1


async def test_a_few_idle_instances_are_kept_until_memory_is_needed() -> None:
    engine = build(msgspec.structs.replace(CAPS, memory_mb=(IDLE_PER_FREED - 1) * 128))
    for number in range(IDLE_PER_FREED - 1):
        engine.deploy(f"f{number}", memory_size=128)
        await engine.call(f"f{number}")
    await settle()
    assert engine.pool.counts.evicted == 0
    assert len(engine.pool.instances()) == IDLE_PER_FREED - 1


async def test_evicted_instances_end_although_the_caller_goes_away() -> None:
    engine = build(CAPS)
    for name in ("a", "b"):
        engine.deploy(name, memory_size=256)
        await engine.call(name)
    engine.deploy("big", memory_size=512)
    engine.driver.ends.closed = True
    task = asyncio.create_task(engine.call("big"))
    await settle()
    assert not engine.driver.starting, "what is evicted has ended before its memory is used again"
    task.cancel()
    engine.driver.ends.open()
    await settle()
    assert task.cancelled()
    assert not engine.driver.alive
    assert (engine.pool.instances(), engine.pool.capacity.memory_mb) == ([], 0)


async def test_what_is_evicted_keeps_its_capacity_until_it_has_ended_although_the_caller_goes_away() -> None:
    engine = build(CAPS)
    for name in ("a", "b"):
        engine.deploy(name, memory_size=256)
        await engine.call(name)
    engine.deploy("big", memory_size=512)
    engine.driver.ends.closed = True
    gone = asyncio.create_task(engine.call("big"))
    await settle()
    gone.cancel()
    await settle()
    assert gone.cancelled()
    next_one = asyncio.create_task(engine.call("a"))
    await settle()
    assert len(engine.driver.alive) == 2, "none starts beside those that end"
    engine.driver.ends.open()
    assert (await next_one).cold
    assert engine.pool.capacity.memory_mb == 256


async def test_what_is_evicted_for_a_smaller_one_keeps_all_of_its_memory_until_it_has_ended() -> None:
    engine = build(CAPS)
    engine.deploy("big", memory_size=512)
    await engine.call("big")
    engine.deploy("small", memory_size=128)
    engine.deploy("middle", memory_size=384)
    engine.driver.ends.closed = True
    calls = [asyncio.create_task(engine.call(name)) for name in ("small", "middle")]
    await settle()
    assert len(engine.driver.alive) == 1, "none starts beside what ends"
    assert engine.pool.capacity.memory_mb == 512
    engine.driver.ends.open()
    assert all([(await call).cold for call in calls])
    assert engine.pool.capacity.memory_mb == 512


async def test_a_call_waits_for_the_capacity_of_an_ending_instance() -> None:
    engine = build(Caps(instances_per_function=1, memory_mb=512, starts_at_once=2, keep_alive_s=300))
    engine.deploy()
    await engine.call()
    engine.driver.ends.closed = True
    engine.deploy(description="new")
    task = asyncio.create_task(engine.call())
    await settle()
    assert not task.done()
    engine.driver.ends.open()
    assert (await task).cold
    assert len(engine.driver.alive) == 1


async def test_closing_while_an_instance_starts_leaves_nothing() -> None:
    engine = build(CAPS)
    engine.deploy()
    engine.driver.starts.closed = True
    tasks = hanging(engine, 2)
    await settle()
    await engine.local.drain(0)
    engine.driver.starts.open()
    for outcome in await asyncio.gather(*tasks, return_exceptions=True):
        assert isinstance(outcome, PlatformError)
    assert not engine.driver.alive
    assert engine.pool.instances() == []


async def test_an_instance_whose_end_fails_gives_its_capacity_back() -> None:
    engine = build(CAPS)
    engine.deploy()
    await engine.call()

    async def fails(_reason: KillReason) -> None:
        raise OSError("no such process")

    engine.driver.made[0].kill = fails  # type: ignore[method-assign, assignment]
    engine.catalog.delete("function", "s", "f")
    await settle()
    assert (engine.pool.instances(), engine.pool.capacity.memory_mb) == ([], 0)


async def test_a_freeze_that_fails_does_not_end_the_keep_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = build(CAPS)
    engine.deploy()
    await engine.call()

    def fail() -> None:
        raise OSError("no such cgroup")

    monkeypatch.setattr(engine.driver.made[0], "freeze", fail)
    with pytest.raises(OSError, match="no such cgroup"):
        engine.clocks.advance(2)
    monkeypatch.undo()
    engine.clocks.advance(302)
    await settle()
    assert engine.pool.instances() == []
