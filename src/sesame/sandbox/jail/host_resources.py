"""Keeps host resources ready: what every instance needs of the host (cgroup, /tmp, user id).

Used by `jail.driver`. Creating and removing them is slow in the kernel, so it is done in threads, before or after a
start. Resources are used once: they are removed after use, not cleaned.
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
from sesame.sandbox.jail.network import InstanceNetwork
from sesame.sandbox.jail.plan import FIRST_UID, NAMED_UIDS
from sesame.sandbox.jail.zygote_client import JailedProcess

READY_RESOURCES = 8
# POLICY: at most this many used resources wait for their removal; beyond it, `take` waits until one is removed.
REMOVALS_WAITING_MAX = 64
DEFAULT_DISK_MB = 512

T = TypeVar("T")
A = TypeVarTuple("A")


class HostResources(msgspec.Struct):
    """The host resources of one instance. A descriptor is -1 if there is none, or after it was handed over.

    Without a `network`, the instance shares the host's.
    """

    uid: int
    group: Group | None
    disk_fd: int
    mounts_fd: int = -1
    network: InstanceNetwork | None = None

    @property
    def counts_memory(self) -> bool:
        return self.group is not None and self.group.counts_memory

    def handed_over(self) -> None:
        """Closes the descriptors that the instance itself now holds."""
        if self.group is not None:
            self.group.joined()
        if self.disk_fd >= 0:
            os.close(self.disk_fd)
            self.disk_fd = -1

    def hold_mounts_of(self, jailed: JailedProcess) -> None:
        """Keeps the instance's mount namespace open until `remove`, so that its end does not wait for unmounting.

        Best effort: if the namespace cannot be opened, the kernel unmounts when the last process exits.
        """
        with contextlib.suppress(OSError):
            mounts_fd = os.open(f"/proc/{jailed.pid}/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
            if jailed.lives():
                self.mounts_fd = mounts_fd
            else:
                # The process had been reaped, so the pid may have been reused.
                os.close(mounts_fd)


class HostResourcePool:
    """Creates resources with the default disk size ahead of use, and removes used ones.

    `cgroups` and `disks` may be None.

    `agent` is (number, count) among the agents of one Sesame: no two of them use the same user ids.
    """

    def __init__(
        self,
        cgroups: Cgroups | None,
        disks: Disks | None,
        agent: tuple[int, int] = (1, 1),
        *,
        ready: int = READY_RESOURCES,
    ) -> None:
        self._cgroups = cgroups
        self._disks = disks
        self._target = ready
        self._ready: deque[HostResources] = deque()
        self._filling: asyncio.Task[None] | None = None
        self._removing: set[asyncio.Task[None]] = set()
        # In random order, so that two Sesames on one machine rarely use the same user ids at the same time.
        number, agents = agent
        named = range(FIRST_UID + number - 1, FIRST_UID + NAMED_UIDS, agents)
        self._free_uids = deque(random.sample(named, len(named)))
        self._more_uids = itertools.count(FIRST_UID + NAMED_UIDS + number - 1, agents)
        self._numbers = itertools.count(1)
        self._makers = ThreadPoolExecutor(max_workers=1, thread_name_prefix="host-resources")
        self._removers = ThreadPoolExecutor(max_workers=1, thread_name_prefix="host-resources-removal")
        self._closed = False

    async def open(self) -> None:
        """Prepares the disk template and the first resources."""
        if self._disks is not None:
            await _run(self._makers, self._disks.open, DEFAULT_DISK_MB)
        self._ready.append(await _run(self._makers, self._make, DEFAULT_DISK_MB))
        self._refill()

    async def take(self, disk_mb: int) -> HostResources:
        """Resources for one instance; does not wait if some are ready and removal keeps up. Raises `OSError`."""
        if len(self._removing) > REMOVALS_WAITING_MAX:
            await asyncio.wait(self._removing, return_when=asyncio.FIRST_COMPLETED)
        if disk_mb == DEFAULT_DISK_MB and self._ready:
            resources = self._ready.popleft()
            self._refill()
            return resources
        making = asyncio.ensure_future(_run(self._makers, self._make, disk_mb))
        try:
            return await asyncio.shield(making)
        except asyncio.CancelledError:
            # The thread continues, but the caller will not take its result.
            await asyncio.wait({making})
            if making.exception() is None:
                self.remove(making.result())
            raise

    def remove(self, resources: HostResources) -> None:
        """Removes resources in the background. The instance's last process must have ended."""
        if resources.network is not None:
            resources.network.close()
        removing = asyncio.get_running_loop().create_task(self._remove(resources))
        self._removing.add(removing)
        removing.add_done_callback(self._removing.discard)

    async def _remove(self, resources: HostResources) -> None:
        await _run(self._removers, take_apart, resources)
        self._free_uids.append(resources.uid)

    @property
    def removals(self) -> int:
        """How many used resources wait for their removal."""
        return len(self._removing)

    async def settled(self) -> None:
        """Returns once everything that is prepared ahead of use is ready."""
        while self._filling is not None and not self._filling.done():
            await asyncio.wait({self._filling})

    async def close(self) -> None:
        self._closed = True
        if self._filling is not None:
            await self._filling
        while self._ready:
            self.remove(self._ready.popleft())
        if self._removing:
            # The loop logs a failed removal; what it left is removed when all groups are ended.
            await asyncio.wait(self._removing)
        await asyncio.to_thread(self._makers.shutdown)
        await asyncio.to_thread(self._removers.shutdown)
        if self._disks is not None:
            self._disks.close()

    def _refill(self) -> None:
        if not self._closed and (self._filling is None or self._filling.done()):
            self._filling = asyncio.get_running_loop().create_task(self._fill())

    async def _fill(self) -> None:
        # The next start will meet and report the same failure, for example a full disk.
        with contextlib.suppress(OSError):
            while len(self._ready) < self._target and not self._closed:
                self._ready.append(await _run(self._makers, self._make, DEFAULT_DISK_MB))

    def _make(self, disk_mb: int) -> HostResources:
        group = self._cgroups.make(f"i{next(self._numbers)}") if self._cgroups is not None else None
        try:
            disk_fd = self._disks.take(disk_mb) if self._disks is not None else -1
        except OSError:
            if group is not None:
                group.remove()
            raise
        # `_make` runs in the makers' thread, `remove` on the loop; both deque operations are atomic.
        try:
            uid = self._free_uids.popleft()
        except IndexError:
            uid = next(self._more_uids)
        return HostResources(uid, group, disk_fd)


async def _run(pool: ThreadPoolExecutor, function: Callable[[*A], T], *arguments: *A) -> T:
    return await asyncio.get_running_loop().run_in_executor(pool, function, *arguments)


def take_apart(resources: HostResources) -> None:
    """Kills what still runs in the resources' cgroup and removes everything. Blocks."""
    resources.handed_over()
    try:
        if resources.group is not None:
            resources.group.kill()
            resources.group.remove()
    finally:
        if resources.mounts_fd >= 0:
            os.close(resources.mounts_fd)
