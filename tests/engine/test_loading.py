"""Loading a handler ahead of its call, on fakes: what is kept for the next call, and what never serves one.

Run by pytest.
"""

import asyncio

import pytest
from tests.engine.conftest import Engine, build, settle

from sesame.engine.instance import State
from sesame.model import limits
from sesame.model.errors import NotFound
from sesame.model.function import Package
from sesame.model.invocation import Invocation, Target
from sesame.sandbox.interface import Call, Reply

LOAD = Invocation("load-1", Target("s", limits.LATEST, "f"), b"")


async def test_what_was_loaded_serves_the_next_call_warm(engine: Engine) -> None:
    loaded = await engine.local.load(LOAD)
    assert loaded is not None
    assert (loaded.error, loaded.cold) == (None, True)
    assert [call.kind for call in engine.driver.made[0].calls] == ["load"]
    assert not (await engine.call()).cold
    assert await engine.local.load(LOAD) is None, "an instance that has loaded the handler is warm"
    assert engine.pool.calls == 0


async def test_what_cannot_be_loaded_is_told_and_serves_nothing(engine: Engine) -> None:
    engine.driver.behaviour = lambda _sandbox, call: Reply(call.kind != "load", b'{"errorMessage": "no"}')
    loaded = await engine.local.load(LOAD)
    assert loaded is not None
    assert loaded.error is not None
    assert loaded.payload == b'{"errorMessage": "no"}'
    assert engine.driver.alive == set()
    assert (await engine.call()).cold


async def test_another_code_is_loaded_and_never_serves_a_call(engine: Engine) -> None:
    await engine.call()
    loaded = await engine.local.load(LOAD, "bb")
    assert loaded is not None
    assert engine.driver.made[1].spec.code == "bb"
    assert [sandbox.spec.code for sandbox in engine.driver.alive] == ["aa"]
    assert not (await engine.call()).cold


async def test_a_function_with_an_initializer_is_started_anew_for_its_first_call() -> None:
    engine = build()
    engine.deploy(initializer="index.init")
    assert await engine.local.load(LOAD) is not None
    assert engine.driver.alive == set()
    await engine.call()
    assert [call.kind for call in engine.driver.made[1].calls] == ["initialize", "invoke"]


async def test_a_changed_function_ends_what_was_loaded_before(engine: Engine) -> None:
    await engine.local.load(LOAD)
    engine.deploy(package=Package(sha256="cc", checksum="43", size_bytes=1))
    assert all(instance.state is State.DEAD for instance in engine.pool.instances())
    assert (await engine.call()).cold


async def test_what_does_not_exist_is_refused(engine: Engine) -> None:
    with pytest.raises(NotFound):
        await engine.local.load(Invocation("load-2", Target("s", limits.LATEST, "nothing"), b""))


async def test_the_time_limit_holds_while_a_handler_loads(engine: Engine) -> None:
    def never(_sandbox: object, _call: Call) -> None:
        return None

    engine.driver.behaviour = never
    task = asyncio.ensure_future(engine.local.load(LOAD))
    await settle()
    engine.clocks.advance(61)
    loaded = await task
    assert loaded is not None
    assert loaded.error is not None
    assert loaded.error.reason == "timeout"
