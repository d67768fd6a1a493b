"""When Sesame dies by SIGKILL, with busy, idle and frozen instances, all that it started is gone within two seconds."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.support.jails import ISOLATION, Traces, jail, jail_only, root_only

from sesame.sandbox.cgroups.groups import Cgroups
from sesame.sandbox.jail import sweep as jail_sweep

pytestmark = [jail_only, pytest.mark.asyncio]

GONE_WITHIN_S = 2.0
ROOT = Path(__file__).parents[2]

# A Sesame of its own: one instance is busy, one idle, one frozen; says so and waits to be killed.
VICTIM = """
import asyncio, sys
from pathlib import Path
from tests.runtime.conftest import Stage
from tests.support.jails import jail

async def main():
    async with jail(Path(sys.argv[1]), version_1_freezer=sys.argv[2] == "1") as driver:
        stage = Stage(driver, "python3.12")
        busy, idle, frozen = [await stage.start("jailed", handler)
                              for handler in ("index.sleep", "index.forks", "index.ticks")]
        asyncio.ensure_future(busy.invoke(b"60"))
        await idle.invoke(b"5")
        await frozen.invoke()
        frozen.sandbox.freeze()
        await asyncio.sleep(0.1)
        print(driver.watchdog_pid, driver.zygote_pid("python3.12"), flush=True)
        await asyncio.sleep(60)

asyncio.run(main())
"""


def start_victim(state: Path, *, version_1_freezer: bool) -> tuple[subprocess.Popen[str], int, set[int], str]:
    """The process, its watchdog, everything that it started (but the watchdog), and the name of its groups."""
    victim = subprocess.Popen(
        [sys.executable, "-c", VICTIM, str(state), "01"[version_1_freezer]],
        stdout=subprocess.PIPE, text=True, cwd=ROOT, env={**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT}/src"},
    )  # fmt: skip
    assert victim.stdout is not None
    words = victim.stdout.readline().split()
    assert words, "the victim did not start"
    watchdog = int(words[0])
    below = set(Traces.processes_below(victim.pid)) - {watchdog}
    names = {name for name, _ in jail_sweep.hierarchies().leftovers() if f"-{victim.pid}-" in name}
    assert len(below) >= 1 + 3 * 2 + 5
    return victim, watchdog, below, names.pop() if ISOLATION.kind == "root" else ""


def alive(pids: set[int]) -> set[int]:
    """Those that still run; a zombie waits for its parent only."""
    found = set()
    for pid in pids:
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z":
                found.add(pid)
        except (FileNotFoundError, ProcessLookupError):
            continue
    return found


def groups(name: str) -> bool:
    return name in dict(jail_sweep.hierarchies().leftovers())


FREEZERS = [
    pytest.param(False, id="freezer-2"),
    pytest.param(True, id="freezer-1", marks=[root_only, pytest.mark.thorough]),
]


@pytest.mark.parametrize("version_1_freezer", FREEZERS)
async def test_everything_is_gone_in_two_seconds(tmp_path: Path, version_1_freezer: bool) -> None:
    victim, watchdog, below, name = start_victim(tmp_path, version_1_freezer=version_1_freezer)
    victim.kill()
    killed = time.monotonic()
    while alive(below | {watchdog}) or groups(name):
        assert time.monotonic() < killed + GONE_WITHIN_S, (alive(below), alive({watchdog}), groups(name))
        await asyncio.sleep(0.01)
    victim.wait()
    assert str(tmp_path) not in Traces.mounts()
    assert os.listdir(tmp_path) == ["root"]


@root_only
@pytest.mark.parametrize("version_1_freezer", FREEZERS)
async def test_the_next_start_sweeps_what_a_dead_watchdog_left(tmp_path: Path, version_1_freezer: bool) -> None:
    victim, watchdog, below, name = start_victim(tmp_path, version_1_freezer=version_1_freezer)
    os.kill(watchdog, signal.SIGKILL)
    victim.kill()
    victim.wait()
    assert groups(name)
    async with jail(tmp_path):
        assert not alive(below)
        assert not groups(name)


@root_only
async def test_the_sweep_spares_running_servers(tmp_path: Path) -> None:
    async with jail(tmp_path) as driver:
        layout = jail_sweep.hierarchies()
        assert name_of(driver.cgroups) in dict(layout.leftovers())
        assert jail_sweep.sweep(layout) == []
        assert name_of(driver.cgroups) in dict(layout.leftovers())


def name_of(cgroups: Cgroups | None) -> str:
    assert cgroups is not None
    return Path(cgroups.paths()[0]).name
