"""Asynchronous calls of functions whose instances serve several calls at a time: where they run. On fakes."""

from collections.abc import Iterator

import pytest
from tests.agents.requests_at_agents import RequestsMachine, moving_requests
from tests.agents.test_credits_machine import CAPS, FOLLOWERS, ROOM, WRITER

from sesame.agents.follower import TELLS_EVERY_S
from sesame.model import records
from sesame.model.configs import OnDemandConfig

FIRST, SECOND = FOLLOWERS


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Iterator[RequestsMachine]:
    moving_requests(monkeypatch)
    made = RequestsMachine()
    # There is memory for one instance.
    made.engine.deploy("alone", runtime="custom", instance_concurrency=2 * ROOM, memory_size=CAPS.memory_mb)
    # Of one that has two, a few may be asynchronous.
    made.engine.deploy("two", runtime="custom", instance_concurrency=ROOM, memory_size=CAPS.memory_mb // 3)
    yield made
    made.teardown()


def at(machine: RequestsMachine, agent: int) -> list[int]:
    """How many calls each living instance there has had."""
    driver = machine.engine.driver if agent == WRITER else machine.followers[agent].driver
    return [len(each.calls) for each in driver.alive]


def test_a_burst_fills_one_instance_before_another_agent_has_one(machine: RequestsMachine) -> None:
    machine.call_asynchronously("two", ROOM)
    assert [at(machine, agent) for agent in (FIRST, SECOND, WRITER)] == [[ROOM], [], []]
    machine.answer(0)
    machine.call_asynchronously("two", 1)
    assert at(machine, FIRST) == [ROOM + 1]
    machine.answer(0)
    assert not machine.refusals()


@pytest.mark.parametrize("agent", [FIRST, SECOND, WRITER])
def test_a_call_goes_where_others_run(machine: RequestsMachine, agent: int) -> None:
    """Also where these are synchronous, of which the writer learns as it asks. So nothing has to go for it."""
    machine.call(SECOND, "c", 2)
    for _ in range(2):
        machine.answer(0)
    machine.time_passes(TELLS_EVERY_S)
    machine.call(agent, "two", 1)
    machine.call_asynchronously("two", 1)
    assert machine.calls_of("two") == [ROOM]
    assert machine.calls_of("c") == [1, 1]


def test_a_place_that_was_kept_is_kept_no_more_once_its_call_is_there(machine: RequestsMachine) -> None:
    machine.call(FIRST, "two", 1)
    machine.call_asynchronously("two", 1)
    machine.answer(0)
    machine.request(SECOND, "two")
    assert machine.calls_of("two") == [ROOM + 1]


@pytest.mark.parametrize("agent", [FIRST, SECOND, WRITER])
def test_a_call_joins_one_that_has_not_begun(machine: RequestsMachine, agent: int) -> None:
    coming = machine.request(agent, "two", whole=False)
    machine.call_asynchronously("two", 1)
    machine.body_of(coming)
    assert machine.calls_of("two") == [ROOM]
    assert machine.refusals() == []


def test_places_that_were_handed_over_are_not_given_to_others(machine: RequestsMachine) -> None:
    machine.call_asynchronously("alone", 1)
    assert machine.calls_of("alone") == [1]
    for agent in (FIRST, SECOND, WRITER):
        machine.request(agent, "alone")
    assert machine.refusals() == []
    assert machine.calls_of("alone") == [2 * ROOM]
    machine.request(SECOND, "alone")
    assert len(machine.refusals()) == 1


def test_one_that_is_stopped_leaves_its_place(machine: RequestsMachine) -> None:
    machine.call_asynchronously("two", ROOM)
    machine.cancel(0)
    machine.call_asynchronously("two", 1)
    assert machine.calls_of("two") == [ROOM + 1]


def test_calls_take_the_free_places_of_a_function_at_its_cap_and_leave_some(machine: RequestsMachine) -> None:
    """Whichever agent has the instance: three quarters of its places are theirs."""
    resource, places = "services/s.LATEST/functions/one", 4
    machine.engine.deploy("one", runtime="custom", instance_concurrency=places)
    machine.engine.catalog.put(records.ON_DEMAND_CONFIG, "", resource, OnDemandConfig(resource, 1))
    machine.settle()
    machine.call_asynchronously("one", 2)
    for _ in range(places):
        machine.call_asynchronously("one", 1)
    assert machine.calls_of("one") == [places - 1]
    machine.request(SECOND, "one")
    assert machine.calls_of("one") == [places]
    assert machine.refusals() == []


def test_calls_find_no_place_where_synchronous_ones_have_them_all(machine: RequestsMachine) -> None:
    resource = "services/s.LATEST/functions/two"
    machine.engine.catalog.put(records.ON_DEMAND_CONFIG, "", resource, OnDemandConfig(resource, 1))
    machine.settle()
    machine.call(WRITER, "two", ROOM)
    machine.call_asynchronously("two", 1)
    assert machine.calls_of("two") == [ROOM]
    assert machine.refusals() == []
