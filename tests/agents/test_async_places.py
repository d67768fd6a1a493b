"""Which follower an asynchronous call is handed to. On fakes, over real links."""

from typing import Any, cast

import pytest
from tests.agents.test_credits_machine import FOLLOWERS, CreditsMachine

from sesame.model import records
from sesame.model.configs import ProvisionConfig, provision_config_name
from sesame.model.errors import PlatformError
from sesame.model.invocation import Target
from sesame.model.recording import RecordingConfig


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


@pytest.mark.parametrize("kind", [records.RECORDING_CONFIG, records.PROVISION_CONFIG])
def test_what_the_writer_serves_alone_is_handed_to_nobody(kind: str) -> None:
    machine = CreditsMachine()
    catalog, others = machine.engine.catalog, machine.others
    assert [each.agent for each in others.may_run(Target("s", "LATEST", "a"))] == [*FOLLOWERS]
    name, config = "a", cast(Any, RecordingConfig("all"))
    if kind == records.PROVISION_CONFIG:
        name, config = provision_config_name("a", "LATEST"), ProvisionConfig("s", "a", "LATEST", target=1)
    catalog.put(kind, "s", name, config)
    assert others.may_run(Target("s", "LATEST", "a")) == ()
    machine.call_asynchronously("a", 1)
    assert len(machine.engine.driver.alive) == 1
    assert len(others.may_run(Target("s", "LATEST", "b"))) == len(FOLLOWERS)
    catalog.delete(kind, "s", name)
    assert len(others.may_run(Target("s", "LATEST", "a"))) == len(FOLLOWERS)
    machine.teardown()
