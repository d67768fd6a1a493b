"""Used cells are taken apart behind the back of those who wait, but never without bound and never half."""

import asyncio
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.runtime.conftest import Stage
from tests.support.jails import INTERPRETERS, jail, jail_only

from sesame.sandbox.jail import host_resources as jail_cells
from sesame.sandbox.jail.host_resources import Cell, Cells
from sesame.sandbox.jail.zygote_client import Jailed

RUNTIME = "python3.12" if "python3.12" in INTERPRETERS else next(iter(INTERPRETERS), "")


class Gate:
    """Holds every removal back until it is opened."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self._open = threading.Event()
        self._take_apart = jail_cells._take_apart
        patch.setattr(jail_cells, "_take_apart", self._pass)

    def open(self) -> None:
        self._open.set()

    def _pass(self, cell: Cell) -> None:
        assert self._open.wait(30)
        self._take_apart(cell)


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Iterator[Gate]:
    made = Gate(monkeypatch)
    yield made
    made.open()


@jail_only
@pytest.mark.asyncio
async def test_an_end_does_not_wait_for_the_removal(tmp_path: Path, gate: Gate) -> None:
    async with jail(tmp_path) as driver:
        actor: Any = await Stage(driver, RUNTIME).start("hello")
        namespace = os.readlink(f"/proc/{actor.sandbox._jailed.pid}/ns/mnt")
        cell = actor.sandbox._cell
        async with asyncio.timeout(10):
            await actor.sandbox.kill()
        if cell.mounts_fd >= 0:
            assert os.readlink(f"/proc/self/fd/{cell.mounts_fd}") == namespace
        gate.open()


@pytest.mark.asyncio
async def test_who_wants_a_cell_waits_for_too_many_used_ones(gate: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jail_cells, "MOST_REMOVING", 1)
    cells = Cells(None, None, ready=0)
    await cells.open()
    used = [await cells.take(jail_cells.DEFAULT_DISK_MB) for _ in range(2)]
    for cell in used:
        cells.remove(cell)
    waiting = asyncio.ensure_future(cells.take(jail_cells.DEFAULT_DISK_MB))
    done, _ = await asyncio.wait([waiting], timeout=0.05)
    assert not done
    gate.open()
    assert (await asyncio.wait_for(waiting, 10)).uid not in {cell.uid for cell in used}
    await cells.close()
    assert not cells._removing


class Stubborn:
    """A group that cannot be ended."""

    def joined(self) -> None:
        return

    def kill(self) -> None:
        raise TimeoutError("a process does not end")


def test_the_mounts_are_let_go_of_although_the_group_stays() -> None:
    reading, writing = os.pipe()
    os.close(writing)
    group: Any = Stubborn()
    with pytest.raises(TimeoutError):
        jail_cells._take_apart(Cell(10_000, group, -1, reading))
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(reading)


def test_the_mounts_of_whoever_has_the_number_now_are_not_held() -> None:
    cell = Cell(10_000, None, -1)
    cell.hold_mounts_of(Jailed(os.getpid(), -1))
    assert cell.mounts_fd == -1
