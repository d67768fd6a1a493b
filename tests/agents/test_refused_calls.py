"""What calls that are refused by a follower leave behind, or do not begin with. On fakes, over real links."""

import asyncio
from typing import Any, cast

import pytest
from tests.agents.test_credits_machine import FOLLOWERS, CreditsMachine

from sesame.agents.follower import TELLS_EVERY_S
from sesame.model.errors import NotFound, NotStarted
from sesame.model.invocation import Invocation, Target
from sesame.model.records import FUNCTION
from sesame.sandbox.interface import SandboxStartFailed, StartFailure

FOLLOWER, OTHER = FOLLOWERS
A, C = Target("s", "LATEST", "a"), Target("s", "LATEST", "c")


def fails_to_start(machine: CreditsMachine, name: str) -> None:
    process = machine.followers[FOLLOWER]
    process.driver.refuse, process.driver.failure = 1, SandboxStartFailed("no such runtime", StartFailure.REFUSED)
    machine.call(FOLLOWER, name, 1)
    assert isinstance(machine.tasks[-1].exception(), NotStarted)


async def request(machine: CreditsMachine, target: Target, *, call: bool) -> Any:
    """As an endpoint serves one: its place is found, and then it is refused, or it calls."""
    process = machine.followers[FOLLOWER]
    assert process.follower.calls is not None
    moving = process.follower.calls.moves(target, cast(Any, None))
    if moving is not None:
        assert not await moving, "it stays"
    return await process.engine.invoke(Invocation("r", target, b"e")) if call else None


def run(machine: CreditsMachine, target: Target, *, call: bool) -> "asyncio.Task[Any]":
    async def act() -> "asyncio.Task[Any]":
        task = asyncio.ensure_future(request(machine, target, call=call))
        for _ in range(60):
            await asyncio.sleep(0)
        return task

    return machine.loop.run_until_complete(act())


def test_a_call_of_a_function_that_does_not_start_gives_its_credit_back_at_once(movable: None) -> None:
    machine = CreditsMachine()
    process, followed = machine.followers[FOLLOWER], machine.writer.followers[FOLLOWER]
    snapshot = machine.engine.resolver.resolve(A)
    fails_to_start(machine, "a")

    async def placed() -> None:
        # As for a call that was placed here before.
        task = asyncio.current_task()
        assert task is not None
        instance_id = await machine.writer.calls.credit_for(followed, snapshot, followed.link)
        process.capacity.grant(snapshot.key, instance_id, task)
        await process.engine.invoke(Invocation("r", A, b"e"))

    async def refused() -> None:
        (error,) = await asyncio.gather(placed(), return_exceptions=True)
        assert isinstance(error, NotStarted)
        for _ in range(60):
            await asyncio.sleep(0)

    machine.loop.run_until_complete(refused())
    assert process.driver.attempts == 1
    assert machine.engine.pool.instances() == []
    machine.teardown()


def test_a_request_that_is_refused_before_it_calls_gives_its_credit_back_at_once(movable: None) -> None:
    machine = CreditsMachine()
    assert run(machine, A, call=False).exception() is None
    assert machine.engine.pool.instances() == []
    assert not run(machine, A, call=True).done()
    assert len(machine.alive()) == 1
    machine.answer(0)
    machine.teardown()


def test_a_function_that_may_not_start_yet_has_no_other_go_for_it(movable: None) -> None:
    machine = CreditsMachine()
    fails_to_start(machine, "a")
    machine.call(FOLLOWER, "c", 3)
    for index in range(3):
        machine.answer(index)
    machine.time_passes(TELLS_EVERY_S)
    for each in (run(machine, A, call=True), run(machine, A, call=False)):
        assert each.done()
    assert isinstance(run(machine, A, call=True).exception(), NotStarted)
    assert len(machine.alive()) == 3, "nothing has gone"
    # Once it may, what is idle longest goes for it.
    machine.time_passes(301.0)
    machine.call(FOLLOWER, "c", 3)
    machine.teardown()


@pytest.mark.parametrize("deleted", [False, True])
def test_a_call_of_a_function_that_changes_meanwhile_is_of_what_it_has_become(
    monkeypatch: pytest.MonkeyPatch, *, deleted: bool
) -> None:
    machine = CreditsMachine()
    place, asked = machine.writer.place, 0

    async def changed_before(asker: Any, question: Any) -> Any:
        nonlocal asked
        asked += 1
        if asked == 1:
            if deleted:
                machine.engine.catalog.delete(FUNCTION, "s", "a")
            else:
                machine.engine.deploy("a", memory_size=256)
        return await place(asker, question)

    monkeypatch.setattr(machine.writer, "place", changed_before)
    machine.call(FOLLOWER, "a", 1)
    if deleted:
        assert isinstance(machine.tasks[-1].exception(), NotFound)
    else:
        assert [each.memory_mb for each in machine.alive()] == [256]
        assert not machine.tasks[-1].done()
    assert asked == (1 if deleted else 2)
    machine.teardown()
