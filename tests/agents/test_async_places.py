"""Which follower an asynchronous call is handed to. On fakes, over real links."""

from tests.agents.test_credits_machine import FOLLOWERS, CreditsMachine

from sesame.model.errors import PlatformError


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
