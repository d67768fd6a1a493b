"""The calls of a function that are to end with a change also end at followers. On fakes, over real links."""

from tests.agents.test_credits_machine import CreditsMachine
from tests.engine.conftest import settle

from sesame.agents.follower import TELLS_EVERY_S
from sesame.engine.instance import State

FOLLOWER = 2


def test_a_call_that_a_follower_has_not_told_of_yet_is_ended_too() -> None:
    machine = CreditsMachine()
    machine.call(FOLLOWER, "a", 1)
    machine.answer(0)
    machine.time_passes(TELLS_EVERY_S)
    machine.call(FOLLOWER, "a", 1)
    assert [each.state for each in machine.engine.pool.instances()] == [State.IDLE], "as it told last"

    async def abort() -> None:
        await machine.engine.local.abort("s", "a")
        for _ in range(3):
            await settle()

    machine.loop.run_until_complete(abort())
    assert [each.done() for each in machine.tasks] == [True, True]
    assert not machine.followers[FOLLOWER].driver.alive
    machine.teardown()
