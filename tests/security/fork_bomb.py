"""How long a neighbour waits beside a fork bomb, and how long it takes to end one: measured and printed.

Run as an ordinary user by test_fork_bomb.py, because root's processes have no limit on their number; pytest does not
find it by itself.
"""

import asyncio
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
from tests.runtime.conftest import Stage
from tests.security.grades import USER
from tests.support.jails import jail

from sesame.sandbox.interface import KillReason, SandboxDied
from sesame.sandbox.memory import tree

MEMORY_MB = 512
RUNS_S = 3.0
ROUNDS = 3


@pytest.mark.asyncio
async def test_a_fork_bomb_beside_a_neighbour(tmp_path: Path) -> None:
    async with jail(tmp_path, **USER) as driver:
        stage = Stage(driver, "python3.12")
        neighbour = await stage.start("victim", "index.number", memory_mb=MEMORY_MB)
        for _ in range(ROUNDS):
            undisturbed = await longest(neighbour)
            bomb = await stage.start("attacks", "index.fork_bomb", memory_mb=MEMORY_MB)
            calling = asyncio.create_task(bomb.invoke(b"{}"))
            beside = await longest(neighbour)
            processes = len(tree(bomb.sandbox.init_pid))
            began = time.monotonic()
            await bomb.sandbox.kill(KillReason.TIMEOUT)
            ended = time.monotonic() - began
            with pytest.raises(SandboxDied):
                await calling
            assert not psutil.pid_exists(bomb.sandbox.init_pid)
            print(
                f"\nfork bomb of {processes} processes: a neighbour's longest call {beside * 1000:.0f} ms, "
                f"undisturbed {undisturbed * 1000:.0f} ms; ended {ended * 1000:.0f} ms after its time"
            )
        await stage.clear()


async def longest(neighbour: Any) -> float:
    """Seconds that the longest of its calls took; each must succeed."""
    end, most = time.monotonic() + RUNS_S, 0.0
    while (began := time.monotonic()) < end:
        assert (await neighbour.invoke()).ok
        most = max(most, time.monotonic() - began)
    return most
