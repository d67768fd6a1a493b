"""Commands in an instance: it is thawed for them and kept, within bounds, and they end with it."""

import pytest
from tests.engine.conftest import build, settle

from sesame.engine.instance import COMMANDS_MAX, State
from sesame.engine.policies import Caps
from sesame.model.command import Command
from sesame.model.errors import Exhausted, NotFound, PlatformError
from sesame.sandbox.interface import SandboxStartFailed

COMMAND = Command(("echo",))
CAPS = Caps(instances_per_function=2, memory_mb=256, starts_at_once=2, keep_alive_s=300)


async def test_an_instance_is_thawed_and_kept_as_long_as_a_command_runs() -> None:
    engine = build(CAPS)
    engine.deploy()
    await engine.call()
    instance = engine.pool.instances()[0]
    engine.clocks.advance(10)
    assert instance.frozen
    async with instance.exec(COMMAND) as execution:
        assert not instance.frozen
        await execution.write(b"hello")
        assert await execution.read() == (1, b"hello")
        engine.clocks.advance(1000)
        assert (instance.frozen, instance.state) == (False, State.IDLE)
        await engine.call()
        assert engine.pool.instances() == [instance]
        engine.clocks.advance(1000)
        assert instance.state is State.IDLE
    assert engine.driver.made[0].commands[0].closed
    engine.clocks.advance(10)
    assert instance.frozen
    engine.clocks.advance(280)
    assert instance.state is State.IDLE
    engine.clocks.advance(20)
    assert instance.state is State.DEAD
    await settle()
    assert not engine.driver.alive


async def test_an_instance_that_runs_a_command_is_not_evicted() -> None:
    engine = build(CAPS)
    engine.deploy("f", memory_size=256)
    engine.deploy("g", memory_size=256)
    await engine.call("f")
    async with engine.pool.instances()[0].exec(COMMAND):
        with pytest.raises(Exhausted):
            await engine.call("g")
    await engine.call("g")


async def test_an_instance_ends_its_commands_when_it_ends() -> None:
    engine = build(CAPS)
    engine.deploy()
    await engine.call()
    instance = engine.pool.instances()[0]
    async with instance.exec(COMMAND) as execution:
        engine.deploy(description="changed")
        await settle()
        assert instance.state is State.DEAD
        assert await execution.wait() == 137
    with pytest.raises(NotFound):
        async with instance.exec(COMMAND):
            pass


async def test_commands_are_bounded_and_failures_are_told_apart(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    engine = build(CAPS)
    engine.deploy()
    await engine.call()
    instance = engine.pool.instances()[0]
    instance.commands = COMMANDS_MAX
    with pytest.raises(Exhausted):
        async with instance.exec(COMMAND):
            pass
    instance.commands = 0

    async def refuse(_command: Command) -> None:
        raise SandboxStartFailed("no way in")

    monkeypatch.setattr(engine.driver.made[0], "exec", refuse)
    with pytest.raises(PlatformError):
        async with instance.exec(COMMAND):
            pass
    assert instance.commands == 0
