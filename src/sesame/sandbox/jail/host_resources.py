"""Keeps a few cells ready: what an instance needs of the host that depends on no function (cgroup, /tmp, user id).

Used by jail.py. The kernel's slow work, making and removing, is done in threads, before or after a start.
Never gives one cell out twice: a used cell is taken apart, not cleaned.
"""

import asyncio
import contextlib
import itertools
import os
import random
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar, TypeVarTuple

import msgspec

from sesame.sandbox.cgroups.groups import Cgroups, Group
from sesame.sandbox.jail.disks import Disks
from sesame.sandbox.jail.plan import FIRST_UID, NAMED_UIDS
from sesame.sandbox.jail.zygote_client import Jailed

READY_CELLS = 8
# POLICY: so many used cells may wait to be taken apart; beyond it, who wants a new one waits for them.
MOST_REMOVING = 64
DEFAULT_DISK_MB = 512

T = TypeVar("T")
A = TypeVarTuple("A")


class Cell(msgspec.Struct):
    """One instance's share of the host. A descriptor is -1 when there is none, or when it was handed over."""

    uid: int
    group: Group | None
    disk_fd: int
    mounts_fd: int = -1

    def handed_over(self) -> None:
        """Closes what the instance holds itself from now on."""
        if self.group is not None:
            self.group.joined()
        if self.disk_fd >= 0:
            os.close(self.disk_fd)
            self.disk_fd = -1

    def hold_mounts_of(self, jailed: Jailed) -> None:
        """Keeps the mounts of the instance until the cell is removed: its end does not wait for the unmounting then.

        It is no loss where that is not allowed: the instance's last process unmounts.
        """
        with contextlib.suppress(OSError):
            mounts_fd = os.open(f"/proc/{jailed.pid}/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
            if jailed.lives():
                self.mounts_fd = mounts_fd
            else:
                # The number may have been somebody else's already.
                os.close(mounts_fd)


class Cells:
    """Makes cells ahead, of the default disk size, and takes used ones apart. `cgroups` or `disks` may be missing."""

    def __init__(self, cgroups: Cgroups | None, disks: Disks | None, *, ready: int = READY_CELLS) -> None:
        self._cgroups = cgroups
        self._disks = disks
        self._target = ready
        self._ready: deque[Cell] = deque()
        self._filling: asyncio.Task[None] | None = None
        self._removing: set[asyncio.Task[None]] = set()
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
        """A cell, at once when one is ready and the removing keeps up. Raises `OSError`."""
        if len(self._removing) > MOST_REMOVING:
            await asyncio.wait(self._removing, return_when=asyncio.FIRST_COMPLETED)
        if disk_mb == DEFAULT_DISK_MB and self._ready:
            cell = self._ready.popleft()
            self._refill()
            return cell
        return await _run(self._makers, self._make, disk_mb)

    def remove(self, cell: Cell) -> None:
        """Takes a cell apart, later, after its last process has ended."""
        removing = asyncio.get_running_loop().create_task(self._remove(cell))
        self._removing.add(removing)
        removing.add_done_callback(self._removing.discard)

    async def _remove(self, cell: Cell) -> None:
        await _run(self._removers, _take_apart, cell)
        self._free_uids.append(cell.uid)

    async def close(self) -> None:
        self._closed = True
        if self._filling is not None:
            await self._filling
        while self._ready:
            self.remove(self._ready.popleft())
        if self._removing:
            # One that failed has no one to tell but the loop; what it left is ended with all groups.
            await asyncio.wait(self._removing)
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
    try:
        if cell.group is not None:
            cell.group.kill()
            cell.group.remove()
    finally:
        if cell.mounts_fd >= 0:
            os.close(cell.mounts_fd)
