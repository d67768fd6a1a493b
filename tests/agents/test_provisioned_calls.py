"""Calls of functions that have provisioned instances, which the writer has: they take these first. On fakes."""

from collections.abc import Iterator
from typing import Any

import pytest
from tests.agents.requests_at_agents import RequestsMachine, moving_requests
from tests.agents.test_credits_machine import FOLLOWERS, WRITER
from tests.support.fakes import FakeSandbox

from sesame.agents.calls import Calls
from sesame.engine.readying import Readying
from sesame.model import records
from sesame.model.configs import ProvisionConfig, provision_config_name
from sesame.model.errors import Unavailable
from sesame.model.invocation import Credentials, Target
from sesame.sandbox.interface import Call, Reply

FOLLOWER, OTHER = FOLLOWERS
A = Target("s", "LATEST", "a")


def loads(_sandbox: FakeSandbox, call: Call) -> Reply | None:
    return Reply(True, b"") if call.kind == "load" else None


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Iterator[RequestsMachine]:
    moving_requests(monkeypatch)
    made = RequestsMachine()
    yield made
    made.teardown()


def provision(machine: RequestsMachine) -> None:
    """One instance."""
    engine, config = machine.engine, ProvisionConfig("s", "a", "LATEST", target=1)
    engine.catalog.put(records.PROVISION_CONFIG, "s", provision_config_name("a", "LATEST"), config)
    engine.driver.behaviour = loads
    readying = Readying(engine.pool, engine.clocks, lambda *_asked: Credentials())
    machine.loop.run_until_complete(readying.bring_up(engine.resolver.resolve(A), A, provisioned=True))


def at(machine: RequestsMachine, agent: int) -> list[int]:
    """How many calls each living instance there has had, but for the loading of its code."""
    driver: Any = machine.engine.driver if agent == WRITER else machine.followers[agent].driver
    return [sum(call.kind == "invoke" for call in each.calls) for each in driver.alive]


def test_calls_take_what_is_provisioned_and_those_beyond_start_where_they_are(machine: RequestsMachine) -> None:
    provision(machine)
    for _ in range(2):
        machine.request(FOLLOWER, "a")
    assert (at(machine, WRITER), at(machine, FOLLOWER)) == ([1], [1])
    machine.request(OTHER, "a")
    assert at(machine, OTHER) == [1]
    assert machine.refusals() == []


def test_a_call_leaves_a_warm_instance_for_one_that_is_provisioned(machine: RequestsMachine) -> None:
    machine.request(FOLLOWER, "a")
    machine.answer(0)
    provision(machine)
    machine.request(FOLLOWER, "a")
    assert (at(machine, WRITER), at(machine, FOLLOWER)) == ([1], [1])
    # Which is taken while no other is idle, be the writer there or not.
    machine.request(FOLLOWER, "a")
    assert (at(machine, WRITER), at(machine, FOLLOWER)) == ([1], [2])
    machine.answer(1)
    machine.inside(lambda: machine.writer.followers[FOLLOWER].link.close())
    machine.request(FOLLOWER, "a")
    assert at(machine, FOLLOWER) == [3]


def test_a_call_takes_its_warm_instance_while_the_writer_is_replaced(machine: RequestsMachine) -> None:
    machine.request(FOLLOWER, "a")
    machine.answer(0)
    provision(machine)
    machine.followers[FOLLOWER].follower.writer.replaced(60.0)
    machine.request(FOLLOWER, "a")
    assert (at(machine, WRITER), at(machine, FOLLOWER)) == ([0], [2])


def test_what_is_provisioned_is_taken_also_where_others_run_and_there_is_room(machine: RequestsMachine) -> None:
    machine.call(WRITER, "a", 1)
    provision(machine)
    machine.request(FOLLOWER, "a")
    assert sorted(at(machine, WRITER)) == [1, 1]
    assert at(machine, FOLLOWER) == []


def test_asynchronous_calls_take_it_too(machine: RequestsMachine) -> None:
    provision(machine)
    machine.call_asynchronously("a", 1)
    assert at(machine, WRITER) == [1]
    machine.call_asynchronously("a", 1)
    assert (at(machine, WRITER), at(machine, FOLLOWER)) == ([1], [1])


def test_a_call_whose_connection_cannot_move_takes_its_warm_instance(
    machine: RequestsMachine, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine.request(FOLLOWER, "a")
    machine.answer(0)
    provision(machine)

    async def stays(*_asked: Any, **_how: Any) -> bool:
        raise Unavailable("the connection cannot move")

    monkeypatch.setattr(Calls, "move_to", stays)
    machine.request(FOLLOWER, "a")
    assert (at(machine, WRITER), at(machine, FOLLOWER)) == ([0], [2])
    assert machine.refusals() == []
