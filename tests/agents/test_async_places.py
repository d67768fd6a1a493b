"""Which follower an asynchronous call is handed to. On fakes, over real links."""

import asyncio
from collections.abc import Iterator

import pytest
from tests.agents.test_credits_machine import FOLLOWERS, CreditsMachine, attempt
from tests.engine.test_resolver import publish
from tests.engine.test_sessions import WITH_SESSIONS

from sesame.model import records
from sesame.model.alias import Alias
from sesame.model.errors import PlatformError
from sesame.model.invocation import Invocation, Target


def test_what_could_not_be_started_by_one_agent_is_tried_by_another() -> None:
    machine = CreditsMachine()
    for agent in FOLLOWERS:
        machine.followers[agent].driver.refuse = 100
    for _ in (*FOLLOWERS, "the writer"):
        machine.call_asynchronously("a", 1)
    assert [machine.followers[agent].driver.attempts > 0 for agent in FOLLOWERS] == [True, True]
    assert len(machine.engine.driver.alive) == 1
    *failed, _running = machine.tasks
    assert all(isinstance(each.exception(), PlatformError) for each in failed)
    machine.cancel(0)
    machine.teardown()


def test_what_the_writer_serves_alone_is_handed_to_nobody() -> None:
    machine = CreditsMachine()
    others = machine.others
    assert [each.agent for each in others.may_run(Target("s", "LATEST", "a"))] == [*FOLLOWERS]
    machine.engine.deploy("a", later=WITH_SESSIONS)
    assert others.may_run(Target("s", "LATEST", "a")) == ()
    machine.call_asynchronously("a", 1)
    assert len(machine.engine.driver.alive) == 1
    assert len(others.may_run(Target("s", "LATEST", "b"))) == len(FOLLOWERS)
    machine.engine.deploy("a")
    assert len(others.may_run(Target("s", "LATEST", "a"))) == len(FOLLOWERS)
    machine.teardown()


ALIAS, CANARY = Target("s", "prod", "f"), Target("s", "2", "f")


@pytest.fixture
def machine() -> Iterator[CreditsMachine]:
    made = CreditsMachine()
    for version in ("1", "2"):
        publish(made.engine, version, f"code {version}")
    alias = Alias(alias_name="prod", version_id="1", additional_version_weight={"2": 0.5})
    made.engine.catalog.put(records.ALIAS, "s", "prod", alias)
    yield made
    made.teardown()


def test_a_version_is_drawn_for_aliases_with_a_canary_alone(machine: CreditsMachine) -> None:
    others = machine.others
    assert others.version_drawn(ALIAS, "") in ("1", "2")
    assert [others.version_drawn(ALIAS, each) for each in ("1", "2")] == ["1", "2"]
    assert others.version_drawn(ALIAS, "7") in ("1", "2")
    assert others.version_drawn(Target("s", "LATEST", "a"), "2") == ""


@pytest.mark.parametrize("declines", [False, True])
def test_the_version_that_was_drawn_runs_where_it_is_handed_to(machine: CreditsMachine, *, declines: bool) -> None:
    """One that the follower does not run, the writer runs: the same version."""
    if declines:
        machine.loop.run_until_complete(machine.followers[FOLLOWERS[0]].follower.runs.close(0.0))
    first, second = machine.others.may_run(CANARY)
    call = Invocation("r", ALIAS, b"e", asynchronous=True, version="2")
    machine.inside(
        lambda: machine.tasks.append(asyncio.ensure_future(attempt(machine.places.begin(CANARY, first), call)))
    )
    assert len(machine.engine.driver.alive) == declines
    machine.answer(0)
    assert machine.tasks[-1].result().version_id == "2"
    assert [each.agent for each in machine.others.may_run(CANARY)] == [*FOLLOWERS][declines:]
    assert second.agent == FOLLOWERS[1]
