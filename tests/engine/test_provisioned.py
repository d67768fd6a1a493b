"""Provisioned instances: reached, kept and let go, within the caps; what calls get of them; why there are too few.

Run by pytest.
Never starts a process and never waits for real time.
"""

import asyncio
from collections.abc import Iterable
from typing import Any

import pytest
from tests.engine.conftest import Engine, build, settle
from tests.support.fakes import FakeSandbox

from sesame.engine.interface import Provisioned
from sesame.engine.policies import Caps
from sesame.engine.provision_targets import ProvisionTargets
from sesame.engine.provisioned import ROOM_LOOKED_FOR_EVERY_S, STARTS_AT_ONCE, Provision
from sesame.model import limits, records
from sesame.model.alias import Alias
from sesame.model.configs import OnDemandConfig, ProvisionConfig, ScalingConfig, provision_config_name
from sesame.model.errors import Exhausted
from sesame.model.invocation import Target
from sesame.model.service import Service
from sesame.model.version import FrozenFunction, Version, frozen_parent
from sesame.sandbox.interface import KillReason, Reply, SandboxDied, SandboxStartFailed, StartFailure

CAPS = Caps(instances_per_function=4, memory_mb=1024, starts_at_once=2, keep_alive_s=300)
LATEST = Target("s", limits.LATEST, "f")
PROD = Target("s", "prod", "f")


def provisioning(caps: Caps = CAPS) -> Engine:
    engine = build(caps)
    engine.deploy()
    targets = ProvisionTargets(engine.catalog, engine.clocks)
    targets.start()
    engine.local.provisioned.start(targets)
    return engine


async def want(engine: Engine, count: int, target: Target = LATEST, **changes: Any) -> None:
    config = ProvisionConfig(target.service, target.function, target.qualifier, target=count, **changes)
    name = provision_config_name(target.function, target.qualifier)
    if count:
        engine.catalog.put(records.PROVISION_CONFIG, target.service, name, config)
    else:
        engine.catalog.delete(records.PROVISION_CONFIG, target.service, name)
    await engine.clocks.settle()


def status(engine: Engine, target: Target = LATEST) -> Provisioned:
    return engine.local.provisioned.status(target)


def publish(engine: Engine, version: str) -> None:
    """The function as it is, under a version."""
    function = engine.catalog.get(records.FUNCTION, "s", "f")
    assert function is not None
    service = Service(service_name="s", service_id="id")
    engine.catalog.put(records.VERSION, "s", version, Version(version, "", service))
    engine.catalog.put(
        records.FROZEN_FUNCTION, frozen_parent("s", version), "f", FrozenFunction(function.document, "e", 0, 0)
    )


def point(engine: Engine, version: str, weights: dict[str, float] | None = None) -> None:
    engine.catalog.put(records.ALIAS, "s", "prod", Alias("prod", version, additional_version_weight=weights))


def versions(engine: Engine) -> list[str]:
    return sorted(each.snapshot.version_id for each in engine.pool.instances())


def kinds(sandbox: FakeSandbox) -> list[str]:
    return [call.kind for call in sandbox.calls]


async def test_the_target_is_reached_and_calls_find_what_was_started() -> None:
    engine = provisioning()
    engine.deploy(initializer="index.init")
    await want(engine, 3)
    assert status(engine) == Provisioned(3, 3)
    assert [kinds(sandbox) for sandbox in engine.driver.made] == [["initialize", "load"]] * 3
    outcome = await engine.call()
    assert (outcome.cold, outcome.provisioned) == (False, True)
    assert len(engine.driver.made) == 3
    assert engine.pool.counts.provisioned == 3


async def test_no_more_start_at_once_than_may() -> None:
    engine = provisioning()
    engine.driver.starts.closed = True
    await want(engine, 4)
    assert len(engine.driver.starting) == STARTS_AT_ONCE
    assert status(engine) == Provisioned(4, 0)
    engine.driver.starts.open()
    await engine.clocks.settle()
    await engine.clocks.settle()
    assert status(engine) == Provisioned(4, 4)


async def test_provisioned_instances_answer_first_and_calls_beyond_them_start_others() -> None:
    engine = provisioning()
    await engine.call()
    on_demand = engine.driver.made[0]
    await want(engine, 1)
    outcome = await engine.call()
    assert outcome.instance_id != on_demand.instance_id
    engine.driver.behaviour = lambda _sandbox, _call: None
    calls = [asyncio.create_task(engine.call()) for _ in range(3)]
    await settle()
    assert len(engine.driver.made) == 3
    for sandbox in engine.driver.made:
        sandbox.answer()
    assert [outcome.provisioned for outcome in await asyncio.gather(*calls)] == [True, False, False]


async def test_they_neither_expire_nor_are_evicted() -> None:
    engine = provisioning(Caps(instances_per_function=4, memory_mb=512, starts_at_once=2, keep_alive_s=300))
    engine.deploy("g", memory_size=384)
    await want(engine, 2)
    await engine.clocks.pass_time(3600)
    assert status(engine).current == 2
    with pytest.raises(Exhausted, match=r"256 of 512 MB taken, 384 MB asked for"):
        await engine.call("g")
    with pytest.raises(Exhausted), engine.local.announce(Target("s", limits.LATEST, "g")):
        raise AssertionError("announced")
    assert not engine.local.has_capacity_for_async(Target("s", limits.LATEST, "g"), {}, {})
    assert status(engine).current == 2


async def test_idle_instances_of_calls_make_room_for_them() -> None:
    engine = provisioning(Caps(instances_per_function=2, memory_mb=256, starts_at_once=2, keep_alive_s=300))
    engine.deploy("g")
    await engine.call("g")
    await engine.call()
    await want(engine, 2)
    assert status(engine) == Provisioned(2, 2)
    assert engine.pool.counts.evicted == 2


LIMIT_OF_2 = "function 'f' of service 's' has reached its limit of 2 instances"
WAIT = "try again when calls have ended"


async def test_a_cap_says_why_there_are_too_few_and_what_is_freed_is_used() -> None:
    engine = provisioning(Caps(instances_per_function=2, memory_mb=1024, starts_at_once=2, keep_alive_s=300))
    engine.driver.behaviour = lambda _sandbox, call: None if call.kind == "invoke" else Reply(True, b"")
    call = asyncio.create_task(engine.call())
    await settle()
    await want(engine, 2)
    assert status(engine) == Provisioned(2, 1, f"{LIMIT_OF_2}; {WAIT}, or raise --max-instances of this Sesame")
    engine.driver.made[0].answer()
    await call
    await engine.clocks.pass_time(120)
    assert status(engine) == Provisioned(2, 2)


async def test_the_memory_bound_says_why_there_are_too_few() -> None:
    engine = provisioning(Caps(instances_per_function=9, memory_mb=300, starts_at_once=2, keep_alive_s=300))
    await want(engine, 3)
    assert status(engine) == Provisioned(
        3,
        2,
        "the memory for instances is used up (256 of 300 MB taken, 128 MB asked for); "
        f"{WAIT}, or give this Sesame more (--max-memory-mb)",
    )


async def test_the_on_demand_limit_neither_counts_nor_bounds_them() -> None:
    engine = provisioning()
    resource = "services/s.LATEST/functions/f"
    engine.catalog.put(records.ON_DEMAND_CONFIG, "", resource, OnDemandConfig(resource, 0))
    await want(engine, 1)
    assert status(engine) == Provisioned(1, 1)
    with engine.local.announce(LATEST):
        with pytest.raises(Exhausted), engine.local.announce(LATEST):
            raise AssertionError("announced")
        assert engine.local.has_capacity_for_async(LATEST, {}, {})
        assert not engine.local.has_capacity_for_async(LATEST, {}, {LATEST: 1})
        assert not (await engine.call()).cold
    engine.driver.behaviour = lambda _sandbox, _call: None
    call = asyncio.create_task(engine.call())
    await settle()
    with pytest.raises(Exhausted, match="limit of 0 instances"):
        await engine.call()
    engine.driver.made[0].answer()
    await call


async def test_without_on_demand_scaling_there_are_no_others() -> None:
    engine = provisioning()
    name = provision_config_name("f", "LATEST")
    engine.catalog.put(
        records.SCALING_CONFIG, "s", name,
        ScalingConfig(
            service="s", function="f", qualifier="LATEST", min_instances=1, enable_on_demand_scaling=False,
        ),
    )  # fmt: skip
    await engine.clocks.settle()
    assert status(engine) == Provisioned(1, 1)
    engine.driver.behaviour = lambda _sandbox, _call: None
    call = asyncio.create_task(engine.call())
    await settle()
    with pytest.raises(Exhausted, match="limit of 0 instances"):
        await engine.call()
    engine.catalog.delete(records.SCALING_CONFIG, "s", name)
    other = asyncio.create_task(engine.call())
    await settle()
    assert len(engine.driver.made) == 2
    for each in engine.driver.made:
        each.answer()
    await asyncio.gather(call, other)


async def test_a_failing_start_is_told_and_tried_again_ever_later() -> None:
    engine = provisioning()
    engine.driver.refuse = 8
    engine.driver.failure = SandboxStartFailed("no such runtime here", StartFailure.REFUSED)
    await want(engine, 1)
    assert status(engine) == Provisioned(1, 0, "no such runtime here")
    await engine.clocks.pass_time(600)
    assert engine.driver.attempts == 9, "after 1 s, 2 s, 4 s, … 60 s"
    assert status(engine) == Provisioned(1, 1)


@pytest.mark.parametrize("step", ["initialize", "load"])
async def test_an_error_of_the_function_is_told_and_the_instance_is_ended(step: str) -> None:
    engine = provisioning()
    engine.deploy(initializer="index.init")
    body = b'{"errorMessage": "No module named nothing", "errorType": "ImportError", "stackTrace": []}'
    engine.driver.behaviour = lambda _sandbox, call: Reply(call.kind != step, body)
    await want(engine, 1)
    assert status(engine).current == 0
    assert status(engine).error.endswith(": No module named nothing")
    assert not engine.driver.alive
    engine.driver.behaviour = lambda _sandbox, call: Reply(True, b"")
    engine.deploy()
    await engine.clocks.settle()
    assert status(engine) == Provisioned(1, 1), "what changed is started at once"


async def test_what_cannot_run_here_says_so() -> None:
    engine = provisioning()
    engine.deploy(runtime="java8")
    await want(engine, 1)
    assert "runtime 'java8'" in status(engine).error


async def test_an_own_failure_is_not_shown() -> None:
    engine = provisioning()
    engine.credentials_fail.append(RuntimeError("secret"))
    await want(engine, 1)
    assert status(engine) == Provisioned(1, 0, "this server failed to start an instance; its log says why")
    engine.credentials_fail.clear()
    await engine.clocks.pass_time(2)
    assert status(engine) == Provisioned(1, 1)


async def test_the_dead_are_replaced_with_back_off() -> None:
    engine = provisioning()
    await want(engine, 1)
    await engine.clocks.pass_time(61)
    engine.driver.made[-1].die()
    await engine.clocks.settle()
    assert len(engine.driver.made) == 2, "one that had lived for long is replaced at once"
    for losses in (1, 2, 3):
        engine.driver.made[-1].die()
        await engine.clocks.settle()
        assert status(engine).current == 0
        await engine.clocks.pass_time(2.0 ** (losses - 1) - 0.1)
        assert status(engine).current == 0
        await engine.clocks.pass_time(0.2)
        assert status(engine).current == 1


async def test_an_instance_that_a_call_killed_is_replaced() -> None:
    engine = provisioning()
    await want(engine, 1)
    engine.driver.behaviour = lambda _sandbox, call: SandboxDied("exit") if call.kind == "invoke" else Reply(True, b"")
    outcome = await engine.call()
    assert outcome.error is not None
    await engine.clocks.pass_time(2)
    assert status(engine) == Provisioned(1, 1)


async def test_a_smaller_target_ends_the_longest_idle_and_no_call() -> None:
    engine = provisioning()
    await want(engine, 3)
    engine.driver.behaviour = lambda _sandbox, call: None if call.kind == "invoke" else Reply(True, b"")
    call = asyncio.create_task(engine.call())
    await settle()
    await want(engine, 1)
    assert [sandbox.killed_for for sandbox in engine.driver.made].count(KillReason.UNWANTED) == 2
    await want(engine, 0)
    assert status(engine) == Provisioned(0, 0)
    hanging = next(iter(engine.driver.alive))
    hanging.answer()
    assert (await call).error is None
    await engine.clocks.pass_time(301)
    assert not engine.driver.alive, "it went on as one that a call had started"


async def test_a_change_of_the_function_replaces_them() -> None:
    engine = provisioning()
    await want(engine, 2)
    former = set(engine.driver.alive)
    engine.deploy(handler="index.other")
    await engine.clocks.settle()
    assert status(engine) == Provisioned(2, 2)
    assert not former & engine.driver.alive


async def test_an_alias_that_moves_has_new_ones_before_the_old_ones_go() -> None:
    engine = provisioning()
    publish(engine, "1")
    engine.deploy(handler="index.other")
    publish(engine, "2")
    point(engine, "1")
    await want(engine, 2, PROD)
    assert versions(engine) == ["1", "1"]
    engine.driver.starts.closed = True
    point(engine, "2")
    await engine.clocks.settle()
    assert versions(engine) == ["1", "1", "2", "2"]
    assert status(engine, PROD) == Provisioned(2, 0)
    engine.driver.starts.let_go()
    await engine.clocks.settle()
    assert versions(engine) == ["1", "2", "2"]
    engine.driver.starts.open()
    await engine.clocks.settle()
    assert versions(engine) == ["2", "2"]
    assert status(engine, PROD) == Provisioned(2, 2)


async def test_where_there_is_no_capacity_for_both_one_goes_first() -> None:
    engine = provisioning(Caps(instances_per_function=2, memory_mb=1024, starts_at_once=2, keep_alive_s=300))
    publish(engine, "1")
    publish(engine, "2")
    point(engine, "1")
    await want(engine, 2, PROD)
    point(engine, "2")
    await engine.clocks.pass_time(10)
    assert versions(engine) == ["2", "2"]
    assert status(engine, PROD) == Provisioned(2, 2)


@pytest.mark.parametrize("ends", [True, False])
async def test_what_was_refused_for_capacity_starts_when_there_is_some(ends: bool) -> None:
    engine = provisioning(Caps(instances_per_function=4, memory_mb=512, starts_at_once=2, keep_alive_s=300))
    engine.deploy("g", memory_size=512, timeout=600)
    engine.driver.behaviour = lambda _sandbox, call: None if call.kind == "invoke" else Reply(True, b"")
    call = asyncio.create_task(engine.call("g"))
    await settle()
    await want(engine, 2)
    # Until it is tried again once a minute.
    await engine.clocks.pass_time(200)
    assert status(engine).current == 0
    assert "512 of 512 MB taken" in status(engine).error
    if ends:
        engine.driver.made[0].die()
    else:
        engine.driver.made[0].answer()
    await call
    await engine.clocks.pass_time(ROOM_LOOKED_FOR_EVERY_S)
    await engine.clocks.settle()
    assert status(engine) == Provisioned(2, 2)


async def test_calls_that_end_while_one_is_short_cause_few_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = provisioning(Caps(instances_per_function=4, memory_mb=512, starts_at_once=2, keep_alive_s=300))
    engine.deploy("g", memory_size=384, timeout=600)
    engine.deploy("h")
    await engine.call("h")
    engine.driver.behaviour = lambda _sandbox, call: None if call.payload == b"hang" else Reply(True, b"")
    held = asyncio.create_task(engine.call("g", b"hang"))
    await settle()
    await want(engine, 4)
    await engine.clocks.pass_time(200)
    assert "512 of 512 MB taken" in status(engine).error
    looks = 0
    wanted = ProvisionTargets.wanted

    def counted(targets: ProvisionTargets) -> Iterable[Provision]:
        nonlocal looks
        looks += 1
        return wanted(targets)

    monkeypatch.setattr(ProvisionTargets, "wanted", counted)
    for _call in range(20):
        await engine.call()
    assert looks == 0
    await engine.clocks.pass_time(ROOM_LOOKED_FOR_EVERY_S)
    assert looks == 1
    engine.driver.made[1].answer()
    await held


async def test_a_canary_has_its_share() -> None:
    engine = provisioning()
    publish(engine, "1")
    publish(engine, "2")
    point(engine, "1", {"2": 0.25})
    await want(engine, 4, PROD)
    assert versions(engine) == ["1", "1", "1", "2"]


async def test_a_configuration_whose_alias_goes_has_no_instances() -> None:
    engine = provisioning()
    publish(engine, "1")
    point(engine, "1")
    await want(engine, 2, PROD)
    engine.catalog.delete(records.ALIAS, "s", "prod")
    await engine.clocks.settle()
    assert not engine.driver.alive
    assert status(engine, PROD).current == 0


@pytest.mark.parametrize(("always", "frozen"), [(False, True), (True, False)])
async def test_they_run_while_idle_where_they_are_to(*, always: bool, frozen: bool) -> None:
    engine = provisioning()
    await want(engine, 1, always_allocate_cpu=always)
    await engine.clocks.pass_time(5)
    assert engine.driver.made[0].frozen is frozen
    await want(engine, 1, always_allocate_cpu=not always)
    await engine.clocks.pass_time(5)
    assert engine.driver.made[0].frozen is not frozen
    assert len(engine.driver.made) == 1
    assert not [timer for timer in engine.clocks.timers if not timer.cancelled], "nothing changes by time any more"


async def test_two_configurations_of_one_version_have_instances_of_their_own() -> None:
    engine = provisioning()
    publish(engine, "1")
    point(engine, "1")
    number = Target("s", "1", "f")
    await want(engine, 1, PROD)
    await want(engine, 2, number)
    assert versions(engine) == ["1", "1", "1"]
    await want(engine, 0, number)
    assert (status(engine, PROD), status(engine, number)) == (Provisioned(1, 1), Provisioned(0, 0))


@pytest.mark.parametrize("moment", ["starts", "ready"])
async def test_a_drained_engine_has_none(moment: str) -> None:
    engine = provisioning()
    engine.driver.starts.closed = moment == "starts"
    await want(engine, 2)
    draining = asyncio.create_task(engine.local.drain(0))
    await settle()
    engine.driver.starts.open()
    await draining
    await engine.clocks.pass_time(600)
    assert not engine.driver.alive
    assert engine.pool.instances() == []


async def test_changes_in_a_crowd_start_no_more_than_is_wanted() -> None:
    engine = provisioning()
    for count in (4, 1, 3, 2):
        name = provision_config_name("f", limits.LATEST)
        engine.catalog.put(records.PROVISION_CONFIG, "s", name, ProvisionConfig("s", "f", limits.LATEST, target=count))
        engine.deploy("g")
        await asyncio.sleep(0)
    await engine.clocks.settle()
    await engine.clocks.settle()
    assert len(engine.driver.alive) == 2
