"""Cold starts and ends leave the machine as it was: processes, groups, descriptors, mounts, loop devices, files."""

import asyncio
import contextlib
import os
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest
from tests.runtime.conftest import Stage
from tests.support.interpreters import INTERPRETERS
from tests.support.jails import Traces, jail, jail_only

from sesame.sandbox.interface import KillReason, SandboxDied
from sesame.sandbox.jail.driver import JailDriver

pytestmark = jail_only

SHORT, LONG = 24, 5_000
AT_ONCE = 4
# What the driver itself, its resource_pool and the last instances hold open.
MOST_OPEN = 150


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
        await actor.sandbox.kill(KillReason.FAILED)
        with pytest.raises(SandboxDied):
            await call
    else:
        actor = await stage.start("jailed", "index.forks")
        assert (await actor.invoke(b"3")).payload == b"3"
        if way == 3:
            actor.sandbox.freeze()
    await actor.sandbox.kill(KillReason.FAILED)
    stage.forget()


async def lives(driver: JailDriver, count: int) -> None:
    numbers = iter(range(count))
    stages = [Stage(driver, runtime) for runtime in sorted(INTERPRETERS)]

    async def lane() -> None:
        for number in numbers:
            await one_life(stages[number % len(stages)], number)

    await asyncio.gather(*(lane() for _ in range(AT_ONCE)))


def loops(folder: Path) -> list[str]:
    """The loop devices on images of that folder; others' come and go."""
    found = []
    for backing in Path("/sys/block").glob("loop*/loop/backing_file"):
        # Detached meanwhile.
        with contextlib.suppress(OSError):
            if backing.read_text().startswith(f"{folder}/"):
                found.append(backing.parts[3])
    return found


@pytest.mark.asyncio
@pytest.mark.parametrize("count", [SHORT, pytest.param(LONG, marks=pytest.mark.torture)])
async def test_many_instances_leave_nothing_on_the_machine(tmp_path: Path, count: int) -> None:
    async with jail(tmp_path / "warm") as driver:
        # The first of everything opens what stays open for good (thread pools, the child watcher).
        await lives(driver, 2 * len(INTERPRETERS))
    before = Traces()
    async with jail(tmp_path / "state") as driver:
        await lives(driver, count)
        assert len(before.left()["descriptors"]) < MOST_OPEN
        # They are found while they are there.
        assert not driver.has_disk_images or loops(tmp_path)
    assert await before.settled() == {}
    assert os.listdir(tmp_path / "state") == ["root"]
    async with asyncio.timeout(30):
        while loops(tmp_path):  # noqa: ASYNC110 (the kernel detaches them)
            await asyncio.sleep(0.05)


def test_leftovers_are_found_and_other_processes_are_not() -> None:
    begins = ["sh", "-c", "sleep 60 & echo; read go; kill $!; wait; sleep 60"]
    other = subprocess.Popen(begins, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert other.stdin is not None
    assert other.stdout is not None
    other.stdout.readline()
    before = Traces()
    other.stdin.write(b"go\n")
    other.stdin.flush()
    reading, writing = os.pipe()
    left = subprocess.Popen(["sleep", "60"])
    found = before.left()
    assert len(found.pop("descriptors")) == 2
    assert found.keys() == {"processes"}
    assert [name.split()[0] for name in found["processes"]] == [str(left.pid)]
    for process in (left, other):
        for child in Traces.processes_below(process.pid):
            os.kill(child, signal.SIGKILL)
        process.kill()
        process.wait()
    os.close(reading)
    os.close(writing)
    assert before.left() == {}
    other.stdin.close()
    other.stdout.close()
