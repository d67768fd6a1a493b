"""Calls are counted by function, kind and outcome, exactly, and for no more functions than there may be.

Run by pytest, on an engine without processes.
"""

import asyncio
from typing import Any

import pytest
from tests.engine.conftest import Engine, build, settle

from sesame.engine.interface import Observer, together
from sesame.engine.policies import Caps
from sesame.metrics.calls import OTHER, CallCounts
from sesame.model.errors import Exhausted, NotFound
from sesame.model.invocation import Invocation, Target
from sesame.model.limits import LATEST
from sesame.sandbox.interface import Reply, SandboxDied, SandboxStartFailed, StartFailure

ONE_INSTANCE = Caps(instances_per_function=1, memory_mb=1024, starts_at_once=2, keep_alive_s=300)
TARGET = Target("s", LATEST, "f")


def counted(caps: Caps | None = None, functions_max: int = 500) -> tuple[Engine, CallCounts]:
    counts = CallCounts(functions_max)
    engine = build(caps, observer=Observer(ended=counts.ended, refused=counts.refused))
    engine.deploy()
    return engine, counts


def outcomes(counts: CallCounts, service: str = "s", function: str = "f") -> dict[str, int]:
    return dict(counts.functions[service, function].sync.outcomes)


async def test_each_outcome_is_counted() -> None:
    engine, counts = counted()
    answers: list[Any] = [Reply(True, b"ok"), Reply(True, b"ok"), Reply(False, b"{}"), SandboxDied("exit")]
    engine.driver.behaviour = lambda _sandbox, _call: answers.pop(0)
    for _ in range(4):
        await engine.call()
    engine.driver.refuse, engine.driver.failure = 1, SandboxStartFailed("no", StartFailure.REFUSED)
    with pytest.raises(Exception, match="no"):
        await engine.call()
    assert outcomes(counts) == {"success": 2, "unhandled": 1, "exit": 1, "not_started": 1}
    calls = counts.functions["s", "f"]
    assert sum(calls.sync.durations.counts) == 4
    assert calls.memory_peak_bytes == 12.5 * 1024 * 1024
    assert calls.asynchronous.outcomes == {}


async def test_asynchronous_attempts_are_counted_apart() -> None:
    engine, counts = counted()
    await engine.dispatcher.invoke(Invocation("r-1", TARGET, b"", asynchronous=True))
    assert counts.functions["s", "f"].asynchronous.outcomes == {"success": 1}
    assert outcomes(counts) == {}


async def test_cold_starts_are_counted_with_their_phases() -> None:
    engine, counts = counted()
    await engine.call()
    await engine.call()
    assert counts.functions["s", "f"].cold_starts == 1
    assert {phase: sum(durations.counts) for phase, durations in counts.cold_phases.items()} == {
        "queue": 1, "start": 1, "initialize": 1,
    }  # fmt: skip
    assert (counts.start_steps["fork"].count, counts.start_steps["fork"].sum_s) == (1, 0.001)


async def test_refusals_before_the_event_was_read_are_counted_too() -> None:
    engine, counts = counted(ONE_INSTANCE)
    engine.driver.behaviour = lambda _sandbox, _call: None
    call = asyncio.create_task(engine.call())
    await settle()
    with pytest.raises(Exhausted):
        await engine.call()
    with pytest.raises(Exhausted):
        with engine.local.announce(TARGET):
            pass
    engine.driver.made[0].answer()
    await call
    assert outcomes(counts) == {"throttled": 2, "success": 1}


async def test_a_call_that_is_cancelled_is_counted_as_such() -> None:
    engine, counts = counted()
    engine.driver.behaviour = lambda _sandbox, _call: None
    call = asyncio.create_task(engine.call())
    await settle()
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert outcomes(counts) == {"cancelled": 1}


async def test_callers_cannot_make_series_by_asking_for_what_does_not_exist() -> None:
    engine, counts = counted()
    for number in range(5):
        with pytest.raises(NotFound):
            await engine.call(f"no-{number}")
    assert {name: dict(calls.sync.outcomes) for name, calls in counts.functions.items()} == {
        (OTHER, OTHER): {"refused": 5}
    }


async def test_what_is_counted_of_a_function_that_was_deleted_stays_with_it() -> None:
    engine, counts = counted()
    await engine.call()
    engine.catalog.delete("function", "s", "f")
    with pytest.raises(NotFound):
        await engine.call()
    assert outcomes(counts) == {"success": 1, "refused": 1}


async def test_functions_beyond_the_bound_share_one_series() -> None:
    engine, counts = counted(functions_max=2)
    for name in ("f", "g", "h", "i"):
        engine.deploy(name)
        await engine.call(name)
    assert {name: sum(calls.sync.outcomes.values()) for name, calls in counts.functions.items()} == {
        ("s", "f"): 1, ("s", "g"): 1, (OTHER, OTHER): 2,
    }  # fmt: skip
    assert counts.name_of("s", "f") == ("s", "f")
    assert counts.name_of("s", "i") == (OTHER, OTHER)


async def test_two_observers_are_told_of_the_same_calls() -> None:
    one, other = CallCounts(), CallCounts()
    engine = build(observer=together(Observer(ended=one.ended), Observer(ended=other.ended, refused=other.refused)))
    engine.deploy()
    await engine.call()
    assert outcomes(one) == outcomes(other) == {"success": 1}
    with pytest.raises(NotFound):
        with engine.local.announce(Target("s", LATEST, "none")):
            pass
    assert (OTHER, OTHER) in other.functions
    assert (OTHER, OTHER) not in one.functions


def test_an_observer_beside_one_that_watches_nothing_is_called_without_a_step_between() -> None:
    counts = CallCounts()
    assert together(Observer(), Observer(ended=counts.ended)).ended == counts.ended


def test_a_function_without_a_service_is_counted_under_no_service() -> None:
    counts = CallCounts()
    counts.refused(Target("$f", LATEST, "f"), Exhausted("full"))
    assert counts.name_of("$f", "f") == ("", "f")
    assert list(counts.functions) == [("", "f")]
    assert outcomes(counts, "") == {"throttled": 1}
