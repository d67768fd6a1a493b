"""Which idle instances of followers go for others, where what the writer knows of them is a moment old. On fakes."""

import pytest
from tests.agents.test_credits_machine import FOLLOWERS, WRITER, CreditsMachine

from sesame.agents.follower import TELLS_EVERY_S
from sesame.agents.policies import LINGER_S


@pytest.mark.parametrize("agent", [WRITER, *FOLLOWERS])
def test_one_that_has_taken_a_call_since_it_was_told_idle_stays_and_another_one_goes(agent: int) -> None:
    machine = CreditsMachine()
    for follower in FOLLOWERS:
        machine.call(follower, "c", 1)
    machine.answer(0)
    machine.time_passes(TELLS_EVERY_S)
    machine.answer(0)
    machine.time_passes(TELLS_EVERY_S)
    machine.call(WRITER, "c", 1)
    # On the instance that was idle for longest, which the writer has not been told.
    machine.call(FOLLOWERS[0], "c", 1)
    machine.call(agent, "b", 1)
    alive = [(spec.setup["function"]["name"], spec.instance_id) for spec in machine.alive()]
    assert sorted(name for name, _id in alive) == ["b", "c", "c"]
    assert [len(machine.followers[each].driver.alive) for each in FOLLOWERS] == [1 + (agent == 2), 0 + (agent == 3)]
    machine.time_passes(TELLS_EVERY_S)
    assert machine.engine.pool.counts.evicted == 1
    machine.teardown()


@pytest.mark.parametrize("idle", [1, 2])
def test_each_goes_for_one_call_of_those_that_come_together(idle: int) -> None:
    machine = CreditsMachine()
    machine.call(FOLLOWERS[0], "c", idle)
    for index in range(idle):
        machine.answer(index)
    machine.time_passes(TELLS_EVERY_S)
    machine.call(FOLLOWERS[1], "c", 3 - idle)
    machine.call(WRITER, "a", 3)
    for index in range(2, 5):
        refused = index >= 2 + 2 * idle
        assert machine.tasks[-3:][index - 2].done() == refused
    assert len(machine.alive()) == 3 - idle + min(2 * idle, 3)
    machine.teardown()


def test_where_none_is_idle_any_more_the_call_is_refused_and_waits_for_none() -> None:
    machine = CreditsMachine()
    machine.call(FOLLOWERS[0], "c", 1)
    machine.answer(0)
    machine.time_passes(TELLS_EVERY_S)
    machine.call(WRITER, "c", 2)
    machine.call(FOLLOWERS[0], "c", 1)
    machine.call(WRITER, "b", 1)
    assert machine.tasks[-1].done()
    assert "memory for instances is used up" in str(machine.tasks[-1].exception())
    # What is idle again goes.
    machine.answer(2)
    machine.time_passes(TELLS_EVERY_S)
    machine.call(WRITER, "b", 1)
    assert not machine.tasks[-1].done()
    machine.teardown()


def test_what_an_agent_had_that_has_died_is_waited_for_until_it_is_gone() -> None:
    machine = CreditsMachine()
    machine.call(FOLLOWERS[0], "c", 3)
    for index in range(3):
        machine.answer(index)
    machine.time_passes(TELLS_EVERY_S)
    machine.a_follower_is_killed_and_started_again(FOLLOWERS[0])
    machine.call(WRITER, "b", 1)
    assert not machine.tasks[-1].done()
    assert machine.alive() == []
    machine.time_passes(LINGER_S)
    assert not machine.tasks[-1].done()
    assert len(machine.alive()) == 1
    machine.teardown()
