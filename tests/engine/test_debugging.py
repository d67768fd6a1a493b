"""Functions that are debugged, on fakes: their instances, their time limits, and that nobody else has any of it.

Run by pytest; `tests/dev/test_debug.py` attaches a real debugger.
"""

import asyncio
import json

import pytest
from tests.engine.conftest import Engine, build, settle
from tests.support.fakes import FakeSandbox

from sesame.engine.debugging import Debugging
from sesame.model import limits
from sesame.model.errors import NotStarted
from sesame.model.function import Package
from sesame.model.invocation import Target
from sesame.sandbox.interface import Call, Reply

TARGET = Target("s", limits.LATEST, "f")
LISTENING = {"port": 4711, "python": "/usr/bin/python3", "relay": "/relay.py", "code": "/code"}


def answering(_sandbox: FakeSandbox, call: Call) -> Reply | None:
    if call.kind == "debug":
        return Reply(True, json.dumps(LISTENING).encode())
    return None if call.payload == b"hang" else Reply(True, b"ok")


def debuggable() -> tuple[Engine, Debugging]:
    engine = build(debuggable=True)
    engine.deploy()
    engine.deploy("other")
    engine.driver.behaviour = answering
    debugging = engine.local.debugging
    assert debugging is not None
    return engine, debugging


def test_an_engine_that_was_not_built_for_it_has_no_debugger(engine: Engine) -> None:
    assert engine.local.debugging is None


async def test_a_debugged_function_runs_where_its_debugger_listens_and_others_do_not() -> None:
    engine, debugging = debuggable()
    await engine.call()
    debugging.debug(TARGET, "layer")
    assert (await debugging.start(TARGET)).port == 4711
    await engine.call()
    await engine.call("other")
    first, debugged, other = engine.driver.made
    assert (first.spec.layers, debugged.spec.layers, other.spec.layers) == ((), ("layer",), ())
    assert [call.kind for call in debugged.calls] == ["debug", "invoke"], "it listens before anything is loaded"
    assert debugged.spec.memory_mb > first.spec.memory_mb == other.spec.memory_mb


async def test_no_call_takes_too_long_while_a_debugger_is_attached() -> None:
    engine, debugging = debuggable()
    debugging.debug(TARGET, "layer")
    before = asyncio.ensure_future(engine.call(event=b"hang"))
    await settle()
    async with debugging.connect(TARGET) as execution:
        (command,) = engine.driver.made[0].commands
        assert command.command.argv == ("/usr/bin/python3", "-E", "-S", "/relay.py", "4711")
        await execution.write(b"x")
        engine.clocks.advance(limits.TIMEOUT_S_MAX + 1)
        await settle()
        assert not before.done(), "the limit of a call in flight is lifted"
        engine.driver.made[0].answer()
        assert (await before).error is None
        during = asyncio.ensure_future(engine.call(event=b"hang"))
        await settle()
        engine.clocks.advance(limits.TIMEOUT_S_MAX + 1)
        await settle()
        assert not during.done()
        engine.driver.made[0].answer()
        await during
    after = asyncio.ensure_future(engine.call(event=b"hang"))
    await settle()
    engine.clocks.advance(limits.TIMEOUT_S_MAX + 1)
    outcome = await after
    assert outcome.error is not None
    assert outcome.error.reason == "timeout"


async def test_new_code_runs_in_a_new_instance_with_a_debugger() -> None:
    engine, debugging = debuggable()
    debugging.debug(TARGET, "layer")
    await debugging.start(TARGET)
    engine.deploy(package=Package(sha256="new", checksum="2", size_bytes=1))
    await settle()
    await debugging.start(TARGET)
    await engine.call()
    assert [sandbox.spec.code for sandbox in engine.driver.made] == ["aa", "new"]
    assert [sandbox.alive for sandbox in engine.driver.made] == [False, True]


async def test_an_initializer_runs_with_the_first_call_of_an_instance_that_was_started_to_be_debugged() -> None:
    engine, debugging = debuggable()
    engine.deploy(initializer="index.init")
    debugging.debug(TARGET, "layer")
    await debugging.start(TARGET)
    await engine.call()
    assert [call.kind for call in engine.driver.made[0].calls] == ["debug", "initialize", "invoke"]


@pytest.mark.parametrize("reply", [Reply(False, b'{"errorMessage": "no debugpy"}'), Reply(True, b"nonsense"), None])
async def test_a_debugger_that_does_not_start_is_told_and_leaves_nothing(reply: Reply | None) -> None:
    engine, debugging = debuggable()
    engine.driver.behaviour = lambda _sandbox, _call: reply
    debugging.debug(TARGET, "layer")
    starting = asyncio.ensure_future(debugging.start(TARGET))
    await settle()
    engine.clocks.advance(120)
    with pytest.raises(NotStarted, match="its debugger did not start"):
        await starting
    assert engine.driver.alive == set()
    assert engine.pool.capacity.memory_mb == 0
