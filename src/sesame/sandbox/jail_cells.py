"""Keeps a few cells ready: what an instance needs of the host that depends on no function (cgroup, /tmp, user id).

Used by jail.py. The kernel's slow work, making and removing, is done in threads, before or after a start.
Never gives one cell out twice: a used cell is taken apart, not cleaned.
"""

import asyncio
import itertools
import os
import random
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar, TypeVarTuple

import msgspec

from sesame.sandbox.cgroups import Cgroups, Group
from sesame.sandbox.jail_disks import Disks
from sesame.sandbox.jail_plan import FIRST_UID, NAMED_UIDS

READY_CELLS = 8
DEFAULT_DISK_MB = 512

T = TypeVar("T")
A = TypeVarTuple("A")


class Cell(msgspec.Struct):
    """One instance's share of the host. `disk_fd` is -1 without a /tmp image or when that was handed over."""

    uid: int
    group: Group | None
    disk_fd: int

    def handed_over(self) -> None:
        """Closes what the instance holds itself from now on."""
        if self.group is not None:
            self.group.joined()
        if self.disk_fd >= 0:
            os.close(self.disk_fd)
            self.disk_fd = -1


class Cells:
    """Makes cells ahead, of the default disk size, and takes used ones apart. `cgroups` or `disks` may be missing."""

    def __init__(self, cgroups: Cgroups | None, disks: Disks | None, *, ready: int = READY_CELLS) -> None:
        self._cgroups = cgroups
        self._disks = disks
        self._target = ready
        self._ready: deque[Cell] = deque()
        self._filling: asyncio.Task[None] | None = None
        # In no order: two Sesames on one machine seldom have the same users then.
        self._free_uids = deque(random.sample(range(FIRST_UID, FIRST_UID + NAMED_UIDS), NAMED_UIDS))
        self._more_uids = itertools.count(FIRST_UID + NAMED_UIDS)
        self._numbers = itertools.count(1)
        self._makers = ThreadPoolExecutor(max_workers=1, thread_name_prefix="cells")
        self._removers = ThreadPoolExecutor(max_workers=1, thread_name_prefix="cells-gone")
        self._closed = False

    async def open(self) -> None:
        """Prepares the disks' template and the first cells."""
        if self._disks is not None:
            await _run(self._makers, self._disks.open, DEFAULT_DISK_MB)
        self._ready.append(await _run(self._makers, self._make, DEFAULT_DISK_MB))
        self._refill()

    async def take(self, disk_mb: int) -> Cell:
        """A cell, at once when one is ready. Raises `OSError`."""
        if disk_mb == DEFAULT_DISK_MB and self._ready:
            cell = self._ready.popleft()
            self._refill()
            return cell
        return await _run(self._makers, self._make, disk_mb)

    async def remove(self, cell: Cell) -> None:
        """Takes a cell apart after its last process has ended."""
        await _run(self._removers, _take_apart, cell)
        self._free_uids.append(cell.uid)

    async def close(self) -> None:
        self._closed = True
        if self._filling is not None:
            await self._filling
        while self._ready:
            await self.remove(self._ready.popleft())
        await asyncio.to_thread(self._makers.shutdown)
        await asyncio.to_thread(self._removers.shutdown)
        if self._disks is not None:
            self._disks.close()

    def _refill(self) -> None:
        if not self._closed and (self._filling is None or self._filling.done()):
            self._filling = asyncio.get_running_loop().create_task(self._fill())

    async def _fill(self) -> None:
        while len(self._ready) < self._target and not self._closed:
            self._ready.append(await _run(self._makers, self._make, DEFAULT_DISK_MB))

    def _make(self, disk_mb: int) -> Cell:
        group = self._cgroups.make(f"i{next(self._numbers)}") if self._cgroups is not None else None
        try:
            disk_fd = self._disks.take(disk_mb) if self._disks is not None else -1
        except OSError:
            if group is not None:
                group.remove()
            raise
        # Deque and counter are atomic: this runs in the makers' thread, `remove` on the loop.
        try:
            uid = self._free_uids.popleft()
        except IndexError:
            uid = next(self._more_uids)
        return Cell(uid, group, disk_fd)


async def _run(pool: ThreadPoolExecutor, function: Callable[[*A], T], *arguments: *A) -> T:
    return await asyncio.get_running_loop().run_in_executor(pool, function, *arguments)


def _take_apart(cell: Cell) -> None:
    cell.handed_over()
    if cell.group is not None:
        cell.group.kill()
        cell.group.remove()
