"""Instances of followers that serve several calls at a time: who finds room in them, and who starts another."""

import asyncio
import sys
from collections.abc import Callable
from types import FrameType, SimpleNamespace
from typing import Any, cast

import pytest
from tests.agents.test_credits_machine import CAPS, CreditsMachine
from tests.engine.conftest import Engine, build
from tests.engine.test_sharing import ROOM, answers, finish, hang

from sesame.agents.coming import Coming, this_task
from sesame.agents.credits import CreditCapacity
from sesame.agents.held import HeldInstances
from sesame.agents.kept_idle import KeptIdle
from sesame.engine.instance import Instance, State
from sesame.engine.policies import Caps
from sesame.http.interface import Exchange
from sesame.model.invocation import Invocation, Target


def shared() -> Engine:
    engine = build(CAPS)
    engine.deploy(runtime="custom", instance_concurrency=ROOM)
    engine.driver.behaviour = answers
    return engine


async def test_room_in_an_instance_is_kept_as_an_idle_one_is() -> None:
    engine = shared()
    idle, snapshot = KeptIdle(engine.pool, lambda: 0.0), engine.resolver.resolve(Target("s", "LATEST", "f"))
    assert not idle.has_now(snapshot)
    assert idle.keep(snapshot.key, ROOM, room=False) == (False, False)
    calls = await hang(engine, 1)
    assert idle.has_now(snapshot)
    # Also where there is room for another instance.
    assert [idle.keep(snapshot.key, ROOM, room=True)[0] for _ in range(ROOM)] == [True] * (ROOM - 1) + [False]
    calls += await hang(engine, ROOM - 1)
    assert not idle.has_now(snapshot)
    await finish(engine, calls)
    assert [each.state for each in engine.pool.instances()] == [State.IDLE]
    assert idle.has_now(snapshot)


async def test_a_call_takes_one_promise_and_the_place_that_was_kept(movable: None) -> None:
    engine = shared()
    idle, snapshot = KeptIdle(engine.pool, lambda: 0.0), engine.resolver.resolve(Target("s", "LATEST", "f"))
    calls = await hang(engine, 1)
    for _ in range(ROOM - 1):
        assert idle.keep(snapshot.key, ROOM, room=False)[0]
    came = cast(Exchange, SimpleNamespace(moves=1))
    assert not idle.has(snapshot)
    assert idle.finds(snapshot, came)
    # All that is left is kept for another one.
    assert not idle.has(snapshot)
    assert idle.keep(snapshot.key, ROOM, room=False) == (False, False)
    assert idle.finds(snapshot, came)
    task = asyncio.current_task()
    assert task is not None
    idle.coming.leaves(task)
    assert idle.has(snapshot)
    await finish(engine, calls)


async def test_an_instance_that_is_to_end_takes_no_more_calls() -> None:
    engine = shared()
    calls = await hang(engine, 1)
    (instance,) = engine.pool.instances()
    assert engine.pool.shared.places(instance.snapshot.key) == ROOM - 1
    engine.pool.shared.close(instance)
    assert engine.pool.shared.places(instance.snapshot.key) == 0
    calls += await hang(engine, 1)
    assert len(engine.driver.made) == 2
    await finish(engine, calls)


def lines_run(work: Callable[[], object]) -> int:
    """How many lines of Python are run."""
    lines = 0

    def trace(_frame: FrameType, event: str, _argument: object) -> Any:
        nonlocal lines
        lines += event == "line"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        work()
    finally:
        sys.settrace(before)
    return lines


async def test_a_call_costs_the_same_however_many_instances_there_are() -> None:
    task = this_task()

    async def costs(instances: int) -> list[int]:
        engine = build(Caps(instances_per_function=20, memory_mb=10_000, starts_at_once=20, keep_alive_s=300))
        engine.deploy(runtime="custom", instance_concurrency=ROOM)
        engine.driver.behaviour = answers
        credits = CreditCapacity(CAPS, lambda: "", lambda: 0.0, lambda _gone: None)
        idle, snapshot = (
            KeptIdle(engine.pool, lambda: 0.0, credits),
            engine.resolver.resolve(Target("s", "LATEST", "f")),
        )
        calls = await hang(engine, instances * ROOM - 1)
        held = HeldInstances(engine.pool, credits, lambda _gone: None)
        assert len(engine.pool.instances()) == instances
        found = [
            lines_run(lambda: idle.joins(snapshot, task)),
            lines_run(lambda: idle.starts(snapshot)),
            lines_run(lambda: idle.keep(snapshot.key, ROOM, room=False)),
            lines_run(lambda: idle.has_provisioned(snapshot)),
            lines_run(lambda: engine.pool.shared.take(snapshot)),
            lines_run(lambda: held.all_are_busy(snapshot.key)),
        ]
        assert credits.coming.leaves(task) == snapshot.key
        await finish(engine, calls)
        return found

    assert await costs(2) == await costs(12)


async def test_a_task_that_comes_again_and_again_is_told_of_once() -> None:
    refused: list[str] = []
    coming, came = Coming(refused.append), asyncio.Event()
    task: asyncio.Task[Any] = asyncio.create_task(came.wait())
    for key in ("a", "b", "b"):
        coming.add(key, task)
    assert [coming.count("a"), coming.count("b")] == [0, 1]
    came.set()
    await task
    await asyncio.sleep(0)
    assert refused == ["b"]
    assert not coming


async def test_calls_join_a_credit_until_its_instance_would_be_full() -> None:
    engine = shared()
    snapshot = engine.resolver.resolve(Target("s", "LATEST", "f"))
    gone: list[str] = []
    credits = CreditCapacity(CAPS, lambda: "", lambda: 0.0, gone.append)
    idle = KeptIdle(engine.pool, lambda: 0.0, credits)
    first, *others = [asyncio.ensure_future(asyncio.sleep(60.0)) for _ in range(ROOM + 2)]
    assert not idle.joins(snapshot, first)
    credits.grant(snapshot.key, "c-1", first)
    assert [idle.joins(snapshot, each) for each in others] == [True] * (ROOM - 1) + [False, False]
    credits.begun(snapshot.key, first, warm=False)
    assert idle.joins(snapshot, others[-1])
    # Refused before they ask for an instance: the last of them gives the credit back.
    for each in others:
        assert gone == []
        each.cancel()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    assert gone == ["c-1"]
    first.cancel()


async def test_what_the_writer_has_granted_starts_beside_what_still_ends() -> None:
    engine = shared()
    credits = CreditCapacity(CAPS, lambda: "", lambda: 0.0, lambda _gone: None)
    snapshot = engine.resolver.resolve(Target("s", "LATEST", "f"))
    for number in range(CAPS.memory_mb // snapshot.limits.memory_mb + 1):
        credits.take(Instance(snapshot, f"c-{number}", lambda *_line: None, engine.clocks))
    assert credits.memory_mb > CAPS.memory_mb


@pytest.mark.parametrize("turns", range(1, 12))
def test_a_call_that_is_cancelled_while_it_asks_leaves_no_credit_behind(turns: int) -> None:
    machine = CreditsMachine()

    async def ask_and_go() -> None:
        call = Invocation("r", Target("s", "LATEST", "a"), b"e")
        asked = asyncio.ensure_future(machine.followers[2].engine.invoke(call))
        for _ in range(turns):
            await asyncio.sleep(0)
        asked.cancel()
        await asyncio.wait({asked})

    machine.loop.run_until_complete(ask_and_go())
    machine.time_passes(11.0)
    assert machine.engine.pool.instances() == []
    machine.teardown()
