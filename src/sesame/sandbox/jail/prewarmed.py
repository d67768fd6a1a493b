"""Keeps a few instances ready that have no function yet: forked and walled in, waiting for code and environment.

Used by jail.py; jail_instance.py gives each its function. Nothing in a spare was made for a particular function.
Never gives one out twice, and never one that has died meanwhile.
"""

import array
import asyncio
import contextlib
import itertools
import json
import os
import socket
from collections import deque
from collections.abc import Sequence
from typing import Any

from sesame.sandbox.interface import SandboxStartFailed, StartFailure
from sesame.sandbox.jail.host_resources import DEFAULT_DISK_MB, Cell, Cells
from sesame.sandbox.jail.policy import DISK_WITHOUT_WALL_MB, PROCESSES, Terms
from sesame.sandbox.jail.zygote_client import MAX_REQUEST_BYTES, Forker, Jailed

READY_SPARES = 1
# A spare is replaced a moment after it was taken: the start that took it has the processors first.
REFILL_DELAY_S = 0.03


class Spare:
    """One instance without a function. Whoever takes it owns its cell, its process and its three descriptors."""

    def __init__(self, cell: Cell, jailed: Jailed, command: socket.socket, wire: socket.socket, output_fd: int) -> None:
        self.cell = cell
        self.jailed = jailed
        self.wire = wire
        self.output_fd = output_fd
        self._command = command

    def order(self, fields: dict[str, Any], fds: Sequence[int]) -> None:
        """Tells it its function; the descriptors stay the caller's. Raises `OSError` when it has died."""
        message = json.dumps(fields).encode()
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
        with self._command:
            if len(message) > MAX_REQUEST_BYTES:
                raise SandboxStartFailed(
                    f"the environment is too large: a start message of {len(message)} bytes, "
                    f"expected at most {MAX_REQUEST_BYTES}; make the environment variables shorter",
                    StartFailure.REFUSED,
                )
            self._command.sendmsg([message], rights)

    async def discard(self, cells: Cells) -> None:
        """Ends one that has got no function."""
        self._command.close()
        self.wire.close()
        os.close(self.output_fd)
        self.jailed.kill()
        await self.jailed.gone.wait()
        cells.remove(self.cell)


class Spares:
    """Spares of the default disk size for each zygote."""

    def __init__(self, cells: Cells, terms: Terms, *, ready: int = READY_SPARES) -> None:
        self._cells = cells
        self._terms = terms
        self._target = ready
        self._ready: dict[Forker, deque[Spare]] = {}
        self._filling: dict[Forker, asyncio.Task[None]] = {}
        self._timers: dict[Forker, asyncio.TimerHandle] = {}
        self._numbers = itertools.count(1)
        self._closed = False

    async def take(self, forker: Forker, disk_mb: int) -> Spare:
        """One that lives, at once when one is ready. Raises `SandboxStartFailed` or `OSError`."""
        if disk_mb != DEFAULT_DISK_MB:
            return await self._make(forker, disk_mb)
        self.refill_later(forker)
        ready = self._ready.get(forker)
        while ready:
            spare = ready.popleft()
            if not spare.jailed.gone.is_set():
                return spare
            await spare.discard(self._cells)
        return await self._make(forker, disk_mb)

    def refill_later(self, forker: Forker) -> None:
        """Sees to it that spares of this zygote are ready again soon."""
        if self._target and not self._closed and forker not in self._timers:
            loop = asyncio.get_running_loop()
            self._timers[forker] = loop.call_later(REFILL_DELAY_S, self._refill, forker)

    async def retire(self, forker: Forker) -> None:
        """Ends the spares of a zygote that is not asked any more."""
        if timer := self._timers.pop(forker, None):
            timer.cancel()
        if filling := self._filling.pop(forker, None):
            filling.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await filling
        for spare in self._ready.pop(forker, ()):
            await spare.discard(self._cells)

    async def close(self) -> None:
        self._closed = True
        for forker in {*self._ready, *self._filling, *self._timers}:
            await self.retire(forker)

    def _refill(self, forker: Forker) -> None:
        del self._timers[forker]
        if forker not in self._filling:
            task = self._filling[forker] = asyncio.get_running_loop().create_task(self._fill(forker))
            task.add_done_callback(lambda _task: self._filling.pop(forker, None))

    async def _fill(self, forker: Forker) -> None:
        ready = self._ready.setdefault(forker, deque())
        # What goes wrong here goes wrong again for the next start, which reports it.
        with contextlib.suppress(SandboxStartFailed, OSError):
            while len(ready) < self._target:
                ready.append(await self._make(forker, DEFAULT_DISK_MB))

    async def _make(self, forker: Forker, disk_mb: int) -> Spare:
        await forker.ready()
        cell = await self._cells.take(disk_mb)
        wire, their_wire = socket.socketpair()
        command, their_command = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        reading, writing = os.pipe()
        born = False
        try:
            try:
                fds = [their_wire.fileno(), writing, their_command.fileno()]
                jailed = await forker.fork(self._request(cell, disk_mb, fds), fds)
                cell.hold_mounts_of(jailed)
                born = True
            finally:
                their_wire.close()
                their_command.close()
                os.close(writing)
                cell.handed_over()
        finally:
            if not born:
                wire.close()
                command.close()
                os.close(reading)
                # What a cancelled request has born all the same is killed, and the cell is emptied before it goes.
                self._cells.remove(cell)
        return Spare(cell, jailed, command, wire, reading)

    def _request(self, cell: Cell, disk_mb: int, fds: list[int]) -> dict[str, Any]:
        """What runtime/jail/steps.py wants to know; the cell's descriptors are added to `fds`."""

        def lend(fd: int) -> int:
            fds.append(fd)
            return len(fds) - 1

        group, holds = cell.group, self._terms.holds
        return {
            "id": f"s{next(self._numbers)}",
            "socket": 0,
            "output": 1,
            "command": 2,
            "cgroup": lend(group.unified_fd) if group is not None and group.unified_fd >= 0 else -1,
            "tasks": [lend(fd) for fd in group.task_fds] if group is not None else [],
            "disk": lend(cell.disk_fd) if cell.disk_fd >= 0 and holds("disk") else -1,
            "disk_mb": disk_mb if holds("disk") else DISK_WITHOUT_WALL_MB,
            "uid": cell.uid,
            "limits": resource_limits(cell, self._terms),
            "user_namespace": self._terms.user_namespace,
            "host_is_visible": self._terms.host_is_visible,
            "without": sorted(self._terms.without),
        }


def resource_limits(cell: Cell, terms: Terms) -> dict[str, int]:
    """Of each process in an instance, by the names of the module `resource`."""
    limits = {"RLIMIT_CORE": 0, "RLIMIT_NOFILE": terms.file_descriptors} if terms.holds("limits") else {}
    if terms.holds("processes") and (cell.group is None or not cell.group.counts_processes):
        # Second choice: it counts a user, who may have instances of another Sesame too.
        limits["RLIMIT_NPROC"] = PROCESSES
    return limits
