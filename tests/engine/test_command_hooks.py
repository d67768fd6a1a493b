"""Commands in the place of the initializer and of the hook before an end, in custom runtimes, on fakes."""

import asyncio
import json

import pytest
from tests.engine.conftest import Engine, build, settle
from tests.support.fakes import FakeExecution

from sesame.engine.policies import Caps
from sesame.model.invocation import Outcome
from sesame.model.later_settings import LaterSettings

INIT, STOP = ("sh", "-c", "prepare"), ("sh", "-c", "tidy")
CAPS = Caps(instances_per_function=4, memory_mb=1024, starts_at_once=2, keep_alive_s=20)


def deployed(runtime: str = "custom.debian12") -> Engine:
    engine = build(CAPS)
    later = LaterSettings(initializer_command=INIT, pre_stop_command=STOP, pre_stop_timeout=9)
    engine.deploy(runtime=runtime, later=later, initialization_timeout=5)
    return engine


def text(engine: Engine) -> str:
    return b"".join(data for _source, _request_id, data in engine.kept).decode()


def last_command(engine: Engine) -> FakeExecution:
    return engine.driver.made[-1].commands[-1]


async def begin(engine: Engine) -> "asyncio.Task[Outcome]":
    call = asyncio.create_task(engine.call())
    await settle()
    return call


async def test_the_command_runs_once_before_the_first_call() -> None:
    engine = deployed()
    call = await begin(engine)
    command = last_command(engine)
    assert (command.command.argv, command.command.stdin) == (INIT, False)
    assert engine.driver.made[0].calls == []
    command.say(1, b"prepared\n")
    command.exit(0)
    assert (await call).error is None
    assert command.closed
    assert (await engine.call()).error is None
    assert len(engine.driver.made[0].commands) == 1
    shown = text(engine)
    places = [
        shown.index(line) for line in ("FC Initialize Start", "prepared\n", "FC Initialize End", "FC Invoke Start")
    ]
    assert places == sorted(places)


@pytest.mark.parametrize(("code", "said"), [(7, "'sh -c prepare' ended with exit code 7"), (127, "exit code 127")])
async def test_a_call_fails_whose_command_failed_and_the_next_one_tries_again(code: int, said: str) -> None:
    engine = deployed()
    call = await begin(engine)
    last_command(engine).exit(code)
    outcome = await call
    assert outcome.error is not None
    assert (outcome.error.type, outcome.error.reason) == ("UnhandledInvocationError", "initializer")
    assert said in json.loads(outcome.payload)["errorMessage"]
    assert engine.pool.instances() == []
    call = await begin(engine)
    last_command(engine).exit(0)
    assert (await call).error is None


async def test_a_command_that_takes_too_long_ends_its_instance() -> None:
    engine = deployed()
    call = await begin(engine)
    await engine.clocks.pass_time(5)
    outcome = await call
    assert "timed out after 5 seconds" in json.loads(outcome.payload)["errorMessage"]
    assert last_command(engine).closed
    assert engine.pool.instances() == []


async def test_a_call_that_is_cancelled_ends_its_command() -> None:
    engine = deployed()
    call = await begin(engine)
    call.cancel()
    await asyncio.wait([call])
    await settle()
    assert (call.cancelled(), last_command(engine).closed, engine.pool.instances()) == (True, True, [])


async def test_an_instance_that_dies_of_its_command_fails_the_call() -> None:
    engine = deployed()
    call = await begin(engine)
    engine.driver.made[0].die()
    last_command(engine).exit(137)
    assert (await call).error is not None
    assert engine.pool.instances() == []


@pytest.mark.parametrize("in_time", [True, False])
async def test_the_command_before_the_end_has_its_time(*, in_time: bool) -> None:
    engine = deployed()
    call = await begin(engine)
    last_command(engine).exit(0)
    await call
    await engine.clocks.pass_time(22)
    command = last_command(engine)
    assert command.command.argv == STOP
    assert len(engine.pool.instances()) == 1
    if in_time:
        command.exit(3)
        await settle()
    else:
        await engine.clocks.pass_time(9)
    assert engine.pool.instances() == []
    assert "FC PreStop End" in text(engine)


async def test_other_runtimes_run_none() -> None:
    engine = deployed("python3.10")
    assert (await engine.call()).error is None
    assert engine.driver.made[0].commands == []
