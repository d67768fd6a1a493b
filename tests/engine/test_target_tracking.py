"""Scheduled actions and target tracking with a whole engine, on a clock that the test moves.

Run by pytest.
Never starts a process and never waits for real time.
"""

import asyncio

from tests.engine.conftest import Engine, build

from sesame.engine.interface import Provisioned
from sesame.engine.policies import Caps
from sesame.engine.provision_targets import ProvisionTargets
from sesame.engine.target_tracking import TargetTracking
from sesame.model import limits, records
from sesame.model.configs import (
    CONCURRENCY_UTILIZATION,
    CPU_UTILIZATION,
    ProvisionConfig,
    ScalingConfig,
    ScheduledAction,
    TargetTrackingPolicy,
)
from sesame.model.invocation import Target
from sesame.model.schedules import utc
from sesame.model.usage import Usage
from sesame.sandbox.interface import Reply

CAPS = Caps(instances_per_function=50, memory_mb=50 * 128, starts_at_once=2, keep_alive_s=300)
LATEST = Target("s", limits.LATEST, "f")
NOON, START, END = "2026-01-01T12:00:00Z", "2026-01-01T00:00:00Z", "2027-01-01T00:00:00Z"
MINUTE_S = 60.0


def tracking(*policies: TargetTrackingPolicy, target: int = 4, actions: tuple[ScheduledAction, ...] = ()) -> Engine:
    """A function with this configuration, at noon of the first day."""
    engine = build(CAPS)
    engine.clocks.set_wall(utc(NOON))
    engine.deploy(timeout=86400)
    config = ProvisionConfig("s", "f", limits.LATEST, target, actions, policies)
    engine.catalog.put(records.PROVISION_CONFIG, "s", f"{limits.LATEST}#f", config, modified_at=utc(NOON))
    targets = ProvisionTargets(engine.catalog, engine.clocks)
    targets.start()
    engine.local.provisioned.start(targets)
    TargetTracking(targets, engine.local.provisioned.ready, engine.clocks).start()
    return engine


def status(engine: Engine) -> Provisioned:
    return engine.local.provisioned.status(LATEST)


def policy(metric: str = CONCURRENCY_UTILIZATION, least: int = 2, most: int = 10) -> TargetTrackingPolicy:
    return TargetTrackingPolicy("p", START, END, metric, 0.6, least, most)


async def test_scheduled_actions_move_the_instances_on_the_clock() -> None:
    up = ScheduledAction("up", START, END, 6, "cron(0 0 13 * * *)")
    down = ScheduledAction("down", START, END, 0, "at(2026-01-01T14:00:00Z)")
    engine = tracking(target=1, actions=(up, down))
    await engine.clocks.pass_time(60 * MINUTE_S - 1)
    assert status(engine) == Provisioned(1, 1)
    await engine.clocks.pass_time(2)
    assert status(engine) == Provisioned(6, 6)
    await engine.clocks.pass_time(60 * MINUTE_S)
    assert status(engine) == Provisioned(0, 0)
    assert not engine.driver.alive
    await engine.clocks.pass_time(23 * 60 * MINUTE_S)
    assert status(engine) == Provisioned(6, 6)


async def test_a_clock_that_is_set_back_has_actions_come_due_anew() -> None:
    engine = tracking(target=1, actions=(ScheduledAction("up", START, END, 3, "cron(0 0 13 * * *)"),))
    await engine.clocks.pass_time(61 * MINUTE_S)
    assert status(engine).target == 3
    engine.clocks.set_wall(utc(NOON))
    await engine.clocks.pass_time(2 * MINUTE_S)
    assert status(engine).target == 1


async def test_busy_instances_become_more_and_idle_ones_fewer_within_the_bounds() -> None:
    engine = tracking(policy())
    engine.driver.behaviour = lambda _sandbox, call: None if call.kind == "invoke" else Reply(True, b"")
    await engine.clocks.pass_time(1)
    calls = [asyncio.create_task(engine.call()) for _ in range(4)]
    seen = []
    for _ in range(3):
        await engine.clocks.pass_time(MINUTE_S)
        seen.append(status(engine).current)
        calls += [asyncio.create_task(engine.call()) for _ in range(status(engine).current - len(calls))]
    assert seen == [7, 10, 10], "all are busy, and 60 % are to be"
    for sandbox in engine.driver.made:
        if sandbox.hanging:
            sandbox.answer()
    await asyncio.gather(*calls)
    assert not any(call.result().cold for call in calls)
    seen = []
    for _ in range(12):
        await engine.clocks.pass_time(MINUTE_S)
        seen.append(status(engine).current)
    assert seen[0] < 10
    assert sorted(seen, reverse=True) == seen
    assert seen[-1] == 2


async def test_what_is_used_as_is_wanted_stays() -> None:
    engine = tracking(policy(), target=5)
    engine.driver.behaviour = lambda _sandbox, call: None if call.kind == "invoke" else Reply(True, b"")
    await engine.clocks.pass_time(1)
    calls = [asyncio.create_task(engine.call()) for _ in range(3)]
    await engine.clocks.pass_time(10 * MINUTE_S)
    assert status(engine) == Provisioned(5, 5)
    for sandbox in engine.driver.made:
        if sandbox.hanging:
            sandbox.answer()
    await asyncio.gather(*calls)


async def test_processors_are_tracked_by_what_the_sandbox_counts() -> None:
    engine = tracking(policy(CPU_UTILIZATION), target=4)

    async def usage() -> Usage | None:
        return Usage(cpu_s=0.5 * 0.9 * engine.clocks.monotonic(), memory_mb=1.0, cpu_quota=0.5)

    await engine.clocks.pass_time(1)
    for sandbox in engine.driver.made:
        sandbox.usage = usage  # type: ignore[method-assign]
    await engine.clocks.pass_time(2 * MINUTE_S)
    assert status(engine).current == 6, "four that use 90 %, and 60 % is wanted"


async def test_nothing_is_measured_where_nothing_is_tracked() -> None:
    later = TargetTrackingPolicy("p", "2026-01-01T16:00:00Z", END, CONCURRENCY_UTILIZATION, 0.6, 2, 9)
    engine = tracking(later, target=1)
    await engine.clocks.pass_time(5)
    wakes = engine.clocks.wakes
    await engine.clocks.pass_time(3600)
    assert engine.clocks.wakes - wakes <= 60, "the alarm compares the clocks once a minute"
    await engine.clocks.pass_time(3 * 3600)
    assert status(engine).target == 2


async def test_what_is_changed_after_the_end_is_not_measured() -> None:
    engine = build(CAPS)
    engine.clocks.set_wall(utc(NOON))
    targets = ProvisionTargets(engine.catalog, engine.clocks)
    targets.start()
    measures = TargetTracking(targets, engine.local.provisioned.ready, engine.clocks)
    measures.start()
    await measures.close()
    targets.close()
    config = ProvisionConfig("s", "f", limits.LATEST, 4, (), (policy(),))
    engine.catalog.put(records.PROVISION_CONFIG, "s", f"{limits.LATEST}#f", config, modified_at=utc(NOON))
    wakes = engine.clocks.wakes
    await engine.clocks.pass_time(10 * MINUTE_S)
    assert engine.clocks.wakes == wakes


async def test_a_scaling_configuration_keeps_instances_as_one_of_provisioned_instances_does() -> None:
    up = {"name": "up", "startTime": START, "endTime": END, "target": 6, "scheduleExpression": "cron(0 0 13 * * *)"}
    engine = tracking(target=1)
    scaling = ScalingConfig(
        service="s", function="f", qualifier=limits.LATEST, min_instances=3, scheduled_policies=(up,)
    )
    name = f"{limits.LATEST}#f"
    engine.catalog.put(records.SCALING_CONFIG, "s", name, scaling, modified_at=utc(NOON))
    await engine.clocks.pass_time(MINUTE_S)
    # Of the two configurations of a function the one that wants more counts.
    assert status(engine) == Provisioned(3, 3)
    await engine.clocks.pass_time(60 * MINUTE_S)
    assert status(engine) == Provisioned(6, 6)
    engine.catalog.delete(records.SCALING_CONFIG, "s", name)
    await engine.clocks.pass_time(MINUTE_S)
    assert status(engine) == Provisioned(1, 1)


async def test_a_horizontal_policy_without_times_holds_always() -> None:
    policy = {
        "name": "p", "metricType": CONCURRENCY_UTILIZATION, "metricTarget": 0.6, "minInstances": 2, "maxInstances": 3,
    }  # fmt: skip
    engine = tracking(target=0)
    scaling = ScalingConfig(service="s", function="f", qualifier=limits.LATEST, horizontal_scaling_policies=(policy,))
    engine.catalog.put(records.SCALING_CONFIG, "s", f"{limits.LATEST}#f", scaling, modified_at=utc(NOON))
    await engine.clocks.pass_time(MINUTE_S)
    assert status(engine) == Provisioned(2, 2)


async def test_a_scaling_configuration_of_before_they_were_checked_is_passed_over() -> None:
    engine = tracking(target=1)
    wrong = ScalingConfig(
        service="s", function="f", qualifier=limits.LATEST, min_instances=3, scheduled_policies=({"name": 5},)
    )
    engine.catalog.put(records.SCALING_CONFIG, "s", f"{limits.LATEST}#f", wrong, modified_at=utc(NOON))
    await engine.clocks.pass_time(MINUTE_S)
    assert status(engine) == Provisioned(1, 1)
