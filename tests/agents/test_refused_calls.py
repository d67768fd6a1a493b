"""What calls that are refused by a follower leave behind. On fakes, over real links."""

from tests.agents.test_credits_machine import CreditsMachine

from sesame.model.errors import NotStarted
from sesame.model.invocation import Target
from sesame.sandbox.interface import SandboxStartFailed, StartFailure

FOLLOWER = 2


def test_a_call_of_a_function_that_does_not_start_gives_its_credit_back_at_once() -> None:
    machine = CreditsMachine()
    process, followed = machine.followers[FOLLOWER], machine.writer.followers[FOLLOWER]
    process.driver.refuse, process.driver.failure = 1, SandboxStartFailed("no such runtime", StartFailure.REFUSED)
    machine.call(FOLLOWER, "a", 1)
    snapshot = machine.engine.resolver.resolve(Target("s", "LATEST", "a"))

    async def grant() -> None:
        # As for a call that was placed here.
        process.capacity.grant(snapshot.key, await machine.writer.credit_for(followed, snapshot, followed.link))

    machine.loop.run_until_complete(grant())
    assert len(machine.engine.pool.instances()) == 1
    machine.call(FOLLOWER, "a", 1)
    assert all(isinstance(each.exception(), NotStarted) for each in machine.tasks)
    assert process.driver.attempts == 1
    assert machine.engine.pool.instances() == []
    machine.teardown()
