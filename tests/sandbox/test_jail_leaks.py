"""Cold starts and ends leave the machine as it was: processes, groups, descriptors, mounts, loop devices, files."""

import asyncio
import os
from pathlib import Path
from typing import Any

import pytest
from tests.runtime.conftest import Stage
from tests.sandbox.jail_stage import INTERPRETERS, Traces, jail, jail_only

from sesame.sandbox.jail import JailDriver
from sesame.sandbox.seam import SandboxDied

pytestmark = [jail_only, pytest.mark.asyncio]

SHORT, LONG = 40, 5_000
AT_ONCE = 4


async def one_life(stage: Stage, number: int) -> None:
    """Every way to go: by itself in a call or between two, killed while idle, busy or frozen, cancelled at birth."""
    way = number % 6
    if way == 0:
        starting = asyncio.create_task(stage.start("hello"))
        await asyncio.sleep(0.003 * (number % 5))
        starting.cancel()
        await asyncio.wait([starting])
        if starting.cancelled():
            return
        actor: Any = starting.result()
    elif way == 1:
        actor = await stage.start("jailed", "index.exits_at_once")
        with pytest.raises(SandboxDied):
            await actor.invoke()
    elif way == 2:
        actor = await stage.start("jailed", "index.sleep")
        call = asyncio.create_task(actor.invoke(b"60"))
        await asyncio.sleep(0)
        await actor.sandbox.kill()
        with pytest.raises(SandboxDied):
            await call
    else:
        actor = await stage.start("jailed", "index.forks")
        assert (await actor.invoke(b"3")).payload == b"3"
        if way == 3:
            actor.sandbox.freeze()
    await actor.sandbox.kill()
    stage._actors.clear()


async def lives(driver: JailDriver, count: int) -> None:
    numbers = iter(range(count))
    stages = [Stage(driver, runtime) for runtime in sorted(INTERPRETERS)]

    async def lane() -> None:
        for number in numbers:
            await one_life(stages[number % len(stages)], number)

    await asyncio.gather(*(lane() for _ in range(AT_ONCE)))


def machine() -> dict[str, Any]:
    """What of the whole machine is compared: only that which nobody else changes meanwhile."""
    return {"loops": len([name for name in os.listdir("/sys/block") if in_use(name)])}


def in_use(name: str) -> bool:
    return name.startswith("loop") and Path(f"/sys/block/{name}/loop").exists()


@pytest.mark.parametrize("count", [SHORT, pytest.param(LONG, marks=pytest.mark.torture)])
async def test_the_machine_is_as_before(tmp_path: Path, count: int) -> None:
    async with jail(tmp_path / "warm") as driver:
        # The first of everything opens what stays open for good (thread pools, the child watcher).
        await lives(driver, 2 * len(INTERPRETERS))
    before, machine_before = Traces.now(), machine()
    async with jail(tmp_path / "state") as driver:
        await lives(driver, count)
        open_then = len(os.listdir("/proc/self/fd"))
        assert open_then < before["own descriptors"] + 150
    assert await Traces.settled(before) == before
    assert os.listdir(tmp_path / "state") == ["root"]
    async with asyncio.timeout(10):
        while machine()["loops"] > machine_before["loops"]:  # noqa: ASYNC110 (the kernel detaches them)
            await asyncio.sleep(0.05)
