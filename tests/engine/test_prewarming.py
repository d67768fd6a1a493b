"""Keep-alive that is learned, with a whole engine on a clock that the test moves; and the replay of a trace beside it.

Run by pytest.
Never starts a process and never waits for real time.
"""

import asyncio
from typing import Any

import pytest
from benchmarks.trace.azure2019 import MINUTES, Function
from benchmarks.trace.replay import replay
from tests.engine.conftest import Engine, build

from sesame.engine.keep_alive import KeepAlive
from sesame.engine.policies import Caps
from sesame.sandbox.interface import KillReason, Reply, SandboxStartFailed

FIXED_S, MINUTE_S = 600.0, 60.0
STEP_S, TURNS = 60.0, 12
CAPS = Caps(instances_per_function=4, memory_mb=512, starts_at_once=2, keep_alive_s=FIXED_S)
LEARNED = KeepAlive(FIXED_S, learned=True)


def learning(policy: KeepAlive | None = LEARNED) -> Engine:
    engine = build(CAPS, keep_alive=policy)
    engine.deploy()
    return engine


async def pass_time(engine: Engine, seconds: float) -> None:
    """In steps, as the pool's ticks are too many for tasks to settle after each."""
    while seconds > 0:
        engine.clocks.advance(min(seconds, STEP_S))
        seconds -= STEP_S
        for _ in range(TURNS):
            await asyncio.sleep(0)


async def calls(engine: Engine, every_s: float, times: int) -> list[bool]:
    """Which of them were cold."""
    found = []
    for _ in range(times):
        found.append((await engine.call()).cold)
        await pass_time(engine, every_s)
    return found


async def test_a_function_of_a_timer_is_started_before_its_call_and_gone_between() -> None:
    engine = learning()
    cold = await calls(engine, 30 * MINUTE_S, 15)
    assert cold == [True] * 11 + [False] * 4, "after ten idle times it is known"
    await engine.call()
    await pass_time(engine, 15)
    assert not engine.driver.alive
    await pass_time(engine, 27 * MINUTE_S)
    (sandbox,) = engine.driver.alive
    assert [call.kind for call in sandbox.calls] == ["load"]
    await pass_time(engine, 30 * MINUTE_S)
    assert not engine.driver.alive, "the call did not come"
    assert sandbox.killed_for is KillReason.EXPIRED
    assert engine.pool.counts.prewarmed == 6


async def test_a_function_that_is_called_every_quarter_of_an_hour_keeps_its_instance_where_that_is_worth_it() -> None:
    engine = learning()
    cold = await calls(engine, 14.5 * MINUTE_S, 20)
    assert not any(cold[11:])
    assert all((await calls(learning(None), 14.5 * MINUTE_S, 20))[1:])


async def test_instances_beside_the_last_one_have_the_fixed_time() -> None:
    engine = learning()
    await calls(engine, 30 * MINUTE_S, 12)
    engine.driver.behaviour = lambda _sandbox, call: None if call.kind == "invoke" else Reply(True, b"")
    two = [asyncio.create_task(engine.call()) for _ in range(2)]
    await engine.clocks.settle()
    for sandbox in engine.driver.made:
        if sandbox.hanging:
            sandbox.answer()
            await pass_time(engine, 1)
    await asyncio.gather(*two)
    await pass_time(engine, 15)
    assert len(engine.driver.alive) == 1
    await pass_time(engine, FIXED_S)
    assert not engine.driver.alive


async def test_one_that_may_be_needed_ends_none_that_is_there() -> None:
    engine = learning()
    engine.deploy("g", memory_size=512)
    await calls(engine, 30 * MINUTE_S, 12)
    await engine.call()
    await pass_time(engine, 26 * MINUTE_S)
    await engine.call("g")
    await pass_time(engine, 2 * MINUTE_S)
    assert [sandbox.spec.setup["function"]["name"] for sandbox in engine.driver.alive] == ["g"]


@pytest.mark.parametrize("change", ["code", "gone"])
async def test_what_changed_meanwhile_is_not_started(change: str) -> None:
    engine = learning()
    await calls(engine, 30 * MINUTE_S, 12)
    made = len(engine.driver.made)
    if change == "code":
        engine.deploy(handler="index.other")
    else:
        await engine.local.drain(0)
    await pass_time(engine, 30 * MINUTE_S)
    assert len(engine.driver.made) == made


async def test_a_start_that_fails_is_left_to_the_next_call() -> None:
    engine = learning()
    await calls(engine, 30 * MINUTE_S, 12)
    await engine.call()
    engine.driver.refuse, engine.driver.failure = 99, SandboxStartFailed("no")
    await pass_time(engine, 30 * MINUTE_S)
    engine.driver.refuse = 0
    assert (await engine.call()).cold


def function(per_minute: dict[int, int], **changes: Any) -> Function:
    counts = tuple(per_minute.get(minute, 0) for minute in range(MINUTES))
    return Function("o", "a", "f", "http", counts, changes.pop("duration_s", 0.0), 128.0)


@pytest.mark.parametrize("policy", [KeepAlive(FIXED_S), LEARNED])
@pytest.mark.parametrize(
    "per_minute",
    [
        dict.fromkeys(range(3, MINUTES, 30), 1),
        dict.fromkeys(range(0, MINUTES, 8), 1),
        dict.fromkeys(range(0, MINUTES, 47), 2),
        {minute: 1 for minute in range(MINUTES) if minute % 97 in (0, 1, 5, 40)},
    ],
)
async def test_the_replay_has_the_cold_starts_of_a_real_pool(policy: KeepAlive, per_minute: dict[int, int]) -> None:
    engine = learning(policy if policy.learned else None)
    cold, now = 0, 0.0
    for minute, count in per_minute.items():
        for index in range(count):
            at = (minute + (index + 0.5) / count) * MINUTE_S
            await pass_time(engine, at - now)
            now = at
            cold += (await engine.call()).cold
    assert cold == replay(function(per_minute), policy).cold
