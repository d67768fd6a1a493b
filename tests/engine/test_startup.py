"""Bringing an instance up: which failures are tried again, how often, and what the caller hears.

Run by pytest.
Never starts a process and never waits for real time.
"""

import asyncio

import pytest
from tests.engine.conftest import Engine, build, settle

from sesame.engine.policies import BACKOFF_MAX_S, Caps, start_backoff_s
from sesame.model.errors import NotStarted, PlatformError
from sesame.sandbox.interface import SandboxStartFailed, StartFailure

MISSING = SandboxStartFailed(
    "Runtime python2.7 cannot run here: its interpreter was not found. Get it with `pyenv install 2.7`",
    StartFailure.REFUSED,
)
CRASHED = SandboxStartFailed("/opt/python: exit status 3 Traceback", StartFailure.CRASHED, "exit status 3")
ALWAYS = 10_000


def failing(engine: Engine, failure: SandboxStartFailed, times: int = ALWAYS) -> None:
    engine.driver.failure, engine.driver.refuse = failure, times


async def test_a_function_that_cannot_start_is_the_callers_error_and_is_tried_once(engine: Engine) -> None:
    failing(engine, MISSING)
    with pytest.raises(NotStarted, match=r"python2\.7 .* `pyenv install 2\.7`"):
        await engine.call()
    assert engine.driver.attempts == 1
    assert engine.pool.instances() == []


async def test_calls_that_follow_are_refused_without_a_start_and_without_evicting_others() -> None:
    engine = build(Caps(instances_per_function=4, memory_mb=256, starts_at_once=2, keep_alive_s=300))
    engine.deploy("idle", memory_size=256)
    engine.deploy("broken", memory_size=128)
    failing(engine, MISSING)
    with pytest.raises(NotStarted):
        await engine.call("broken")
    engine.driver.refuse = 0
    await engine.call("idle")
    attempts = engine.driver.attempts
    for _ in range(5):
        with pytest.raises(NotStarted, match="pyenv install"):
            await engine.call("broken")
    assert engine.driver.attempts == attempts
    assert not (await engine.call("idle")).cold


async def test_a_process_that_ends_before_it_is_ready_is_tried_twice_and_the_error_says_how_it_ended(
    engine: Engine,
) -> None:
    failing(engine, CRASHED)
    with pytest.raises(NotStarted, match=r"failed once .*exit status 3.* again in 1\.0 seconds") as refused:
        await engine.call()
    assert engine.driver.attempts == 2
    assert "Traceback" not in str(refused.value)
    assert "/opt/python" not in str(refused.value)
    logged = b"".join(data for _source, _request_id, data in engine.kept)
    assert logged == b"[sesame] the function's process did not start: exit status 3\n" * 2


async def test_the_second_attempt_recovers_from_one_crash(engine: Engine) -> None:
    failing(engine, CRASHED, 1)
    assert (await engine.call()).payload == b"echo:e"


async def test_repeated_crashes_back_off_and_the_error_says_so(engine: Engine) -> None:
    failing(engine, CRASHED)
    for failures, wait_s in ((1, 1.0), (2, 2.0), (3, 4.0), (4, 8.0)):
        with pytest.raises(NotStarted, match=f"again in {wait_s} seconds"):
            await engine.call()
        assert engine.driver.attempts == 2 * failures
        engine.clocks.advance(wait_s - 0.5)
        with pytest.raises(NotStarted, match=r"again in 0\.5 seconds"):
            await engine.call()
        assert engine.driver.attempts == 2 * failures
        engine.clocks.advance(0.5)
    engine.driver.refuse = 0
    assert (await engine.call()).payload == b"echo:e"


async def test_starts_that_fail_together_are_one_failure() -> None:
    engine = build(Caps(instances_per_function=4, memory_mb=1024, starts_at_once=4, keep_alive_s=300))
    engine.deploy()
    failing(engine, CRASHED)
    refusals = await asyncio.gather(*(engine.call() for _ in range(4)), return_exceptions=True)
    assert {type(refusal) for refusal in refusals} == {NotStarted}
    with pytest.raises(NotStarted, match="failed once"):
        await engine.call()


async def test_a_successful_start_resets_the_back_off(engine: Engine) -> None:
    failing(engine, CRASHED, 2)
    with pytest.raises(NotStarted):
        await engine.call()
    engine.clocks.advance(1)
    await engine.call()
    engine.driver.made[0].die()
    await settle()
    failing(engine, CRASHED, 2)
    with pytest.raises(NotStarted, match="failed once"):
        await engine.call()


async def test_a_changed_function_is_started_at_once(engine: Engine) -> None:
    failing(engine, CRASHED, 2)
    with pytest.raises(NotStarted):
        await engine.call()
    engine.deploy(description="mended")
    assert (await engine.call()).payload == b"echo:e"


async def test_a_failing_function_delays_no_other(engine: Engine) -> None:
    engine.deploy("g")
    failing(engine, CRASHED, 2)
    with pytest.raises(NotStarted):
        await engine.call()
    assert (await engine.call("g")).payload == b"echo:e"


async def test_a_transient_failure_of_the_host_is_retried_and_is_no_caller_error(engine: Engine) -> None:
    failing(engine, SandboxStartFailed("no process"), 5)
    assert (await engine.call()).payload == b"echo:e"
    engine.driver.made[0].die()
    await settle()
    failing(engine, SandboxStartFailed("no process"))
    with pytest.raises(PlatformError):
        await engine.call()
    engine.driver.refuse = 0
    assert (await engine.call()).payload == b"echo:e"


def test_the_back_off_doubles_up_to_a_bound() -> None:
    assert [start_backoff_s(n) for n in (1, 2, 3, 6, 7, 8)] == [1, 2, 4, 32, BACKOFF_MAX_S, BACKOFF_MAX_S]
    assert start_backoff_s(10**9) == BACKOFF_MAX_S


async def test_lost_code_is_reported_to_the_caller_and_checked_again_at_each_call(engine: Engine) -> None:
    lost = SandboxStartFailed("the code package 0a is gone: deploy the function again", StartFailure.LOST)
    failing(engine, lost, 2)
    for _ in range(2):
        with pytest.raises(NotStarted, match="deploy the function again"):
            await engine.call()
    assert engine.driver.attempts == 2
    assert (await engine.call()).payload == b"echo:e"
