"""Health checks after the start: when an instance is asked, and what becomes of one that is not well, on fakes."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from tests.engine.conftest import Engine, build, settle
from tests.support.fakes import FakeSandbox

from sesame.engine.instance import State
from sesame.engine.policies import Caps
from sesame.sandbox.interface import NO_ANSWER_IN_TIME, Call, Reply, SandboxDied

CHECK = {"httpGetUrl": "/healthy", "periodSeconds": 5, "failureThreshold": 2}
WELL, ILL = Reply(True, b""), Reply(False, b"")
Answer = Callable[[FakeSandbox, Call], Reply | SandboxDied | None]


def checked(health: Answer, *, freeze_after_s: float = 10_000, **changes: Any) -> Engine:
    """An engine with a function that is asked how it is and answers by `health`; an event "hang" is not answered."""
    caps = Caps(
        instances_per_function=2, memory_mb=10_000, starts_at_once=2, keep_alive_s=9_999, freeze_after_s=freeze_after_s
    )
    engine = build(caps)
    engine.deploy(runtime="custom", custom_health_check_config=CHECK, timeout=600, **changes)

    def behaviour(sandbox: FakeSandbox, call: Call) -> Reply | SandboxDied | None:
        if call.kind == "health_check":
            return health(sandbox, call)
        return None if call.payload == b"hang" else Reply(True, b"done")

    engine.driver.behaviour = behaviour
    return engine


def checks(engine: Engine) -> int:
    return sum(call.kind == "health_check" for sandbox in engine.driver.made for call in sandbox.calls)


def text(engine: Engine) -> str:
    return b"".join(data for _source, _request_id, data in engine.kept).decode()


async def test_an_instance_is_asked_as_often_as_its_function_says() -> None:
    engine = checked(lambda _sandbox, _call: WELL)
    await engine.call()
    await engine.clocks.pass_time(21)
    assert checks(engine) == 4
    assert [instance.state for instance in engine.pool.instances()] == [State.IDLE]


async def test_one_that_is_not_well_is_replaced_and_its_log_says_why() -> None:
    engine = checked(lambda sandbox, _call: ILL if sandbox is engine.driver.made[0] else WELL)
    first = (await engine.call()).instance_id
    await engine.clocks.pass_time(6)
    assert [instance.instance_id for instance in engine.pool.instances()] == [first]
    await engine.clocks.pass_time(5)
    assert engine.pool.instances() == []
    assert "health check failed on port 9000: GET /healthy was not answered well 2 times in a row" in text(engine)
    assert (await engine.call()).instance_id != first


async def test_failures_count_in_a_row() -> None:
    answers = iter([ILL, WELL] * 10)
    engine = checked(lambda _sandbox, _call: next(answers))
    await engine.call()
    await engine.clocks.pass_time(60)
    assert len(engine.pool.instances()) == 1


async def test_calls_that_run_go_on_and_no_other_is_given_to_it() -> None:
    engine = checked(lambda sandbox, _call: ILL if sandbox is engine.driver.made[0] else WELL, instance_concurrency=3)
    running = asyncio.create_task(engine.call(event=b"hang"))
    await settle()
    await engine.clocks.pass_time(11)
    assert "takes no more calls" in text(engine)
    other = await engine.call()
    assert len(engine.driver.made) == 2
    engine.driver.made[0].answer()
    outcome = await running
    assert (outcome.error, outcome.payload) == (None, b"ok")
    await settle()
    assert [instance.instance_id for instance in engine.pool.instances()] == [other.instance_id]


async def test_the_only_call_of_an_instance_is_not_disturbed() -> None:
    engine = checked(lambda _sandbox, _call: ILL)
    running = asyncio.create_task(engine.call(event=b"hang"))
    await settle()
    await engine.clocks.pass_time(60)
    assert checks(engine) == 0
    engine.driver.made[0].answer()
    assert (await running).error is None


async def test_no_answer_in_time_beside_a_call_does_not_count() -> None:
    engine = checked(lambda _sandbox, _call: NO_ANSWER_IN_TIME, instance_concurrency=3)
    running = asyncio.create_task(engine.call(event=b"hang"))
    await settle()
    await engine.clocks.pass_time(60)
    assert checks(engine) == 12
    assert "takes no more calls" not in text(engine)
    engine.driver.made[0].answer()
    assert (await running).error is None
    # Without one it does.
    await engine.clocks.pass_time(11)
    assert "takes no more calls" in text(engine)
    assert engine.pool.instances() == []


async def test_no_answer_in_time_to_a_check_in_which_a_call_came_or_ended_does_not_count() -> None:
    engine = checked(lambda _sandbox, _call: None, instance_concurrency=3)
    running = asyncio.create_task(engine.call(event=b"hang"))
    await settle()
    (sandbox,) = engine.driver.made
    for _time in range(3):
        await engine.clocks.pass_time(5)
        # The call ends, then the check.
        sandbox.answer()
        await running
        sandbox.answer_with(NO_ANSWER_IN_TIME)
        await settle()
        # A check begins, then a call.
        await engine.clocks.pass_time(5)
        running = asyncio.create_task(engine.call(event=b"hang"))
        await settle()
        sandbox.answer_with(NO_ANSWER_IN_TIME)
        await settle()
    assert "takes no more calls" not in text(engine)
    sandbox.answer()
    assert (await running).error is None


async def test_one_that_is_frozen_is_not_asked() -> None:
    engine = checked(lambda _sandbox, _call: ILL, freeze_after_s=1)
    await engine.call()
    await engine.clocks.pass_time(60)
    assert checks(engine) == 0


async def test_one_that_is_being_asked_is_not_frozen() -> None:
    engine = checked(lambda _sandbox, _call: None, freeze_after_s=5.5)
    await engine.call()
    sandbox = engine.driver.made[0]
    await engine.clocks.pass_time(8)
    assert (checks(engine), sandbox.frozen) == (1, False)
    sandbox.answer()
    await engine.clocks.pass_time(2)
    assert sandbox.frozen


@pytest.mark.parametrize("by_itself", [True, False])
async def test_one_that_dies_of_a_check_is_known_to_be_dead(*, by_itself: bool) -> None:
    engine = checked(lambda _sandbox, _call: None if by_itself else SandboxDied("exit", "exit status 3"))
    await engine.call()
    await engine.clocks.pass_time(6)
    if by_itself:
        engine.driver.made[0].die()
        await settle()
    assert engine.pool.instances() == []
    assert (await engine.call()).error is None
