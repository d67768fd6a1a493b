"""Keeps prewarmed sandboxes: forked and jailed ahead of use, waiting for a function's code and environment.

Used by `jail.driver`; `jail.instance` gives each its function. A prewarmed sandbox contains nothing of a particular
function. Each is handed out once, and only while it lives.
"""

import array
import asyncio
import contextlib
import itertools
import json
import os
import socket
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from sesame.sandbox.interface import SandboxStartFailed, StartFailure
from sesame.sandbox.jail.host_resources import DEFAULT_DISK_MB, HostResourcePool, HostResources
from sesame.sandbox.jail.network import InstanceNetwork
from sesame.sandbox.jail.policy import DISK_WITHOUT_WALL_MB, PROCESSES, JailPolicy
from sesame.sandbox.jail.zygote_client import MAX_REQUEST_BYTES, JailedProcess, ZygoteClient
from sesame.sandbox.lifecycle import StartOutput
from sesame.sandbox.network import Answers

# POLICY: two, so that calls of two new functions in a row both find one.
READY_PREWARMED = 2
# The delay before a prewarmed sandbox is replaced, so that the start that took it has the processors first.
REFILL_DELAY_S = 0.03
# POLICY: how much longer to delay, at most, while starts are under way and another sandbox is ready; checked this
# often.
POSTPONED_MAX_S, LOOK_EVERY_S = 0.1, 0.005

# Starts an instance, which takes its sandbox from the pool; on return it is ready.
Start = Callable[[ZygoteClient, "PrewarmedPool", StartOutput], Awaitable[None]]


class PrewarmedSandbox:
    """A sandbox without a function. Taking it transfers its host resources, process and descriptors."""

    def __init__(
        self,
        resources: HostResources,
        jailed: JailedProcess,
        command: socket.socket,
        wire: socket.socket,
        output_fd: int,
    ) -> None:
        self.resources = resources
        self.jailed = jailed
        self.wire = wire
        self.output_fd = output_fd
        self._command = command

    def order(self, fields: dict[str, Any], fds: Sequence[int]) -> None:
        """Sends the function's start message; `fds` remain the caller's. Raises `OSError` if the sandbox has died.

        If no cgroup can freeze the instance, its process 1 takes further orders from the same socket.
        """
        message = json.dumps(fields).encode()
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
        with contextlib.ExitStack() as closing:
            closing.enter_context(self._command)
            if len(message) > MAX_REQUEST_BYTES:
                raise SandboxStartFailed(
                    f"the environment is too large: a start message of {len(message)} bytes, "
                    f"expected at most {MAX_REQUEST_BYTES}; make the environment variables shorter",
                    StartFailure.REFUSED,
                )
            self._command.sendmsg([message], rights)
            if self.resources.group is None or not self.resources.group.can_freeze:
                closing.pop_all()
                self.jailed.takes_orders(self._command)

    async def discard(self, resource_pool: HostResourcePool) -> None:
        """Ends an unused prewarmed sandbox."""
        self._command.close()
        self.wire.close()
        os.close(self.output_fd)
        self.jailed.kill()
        await self.jailed.gone.wait()
        resource_pool.remove(self.resources)


class PrewarmedPool:
    """Prewarmed sandboxes of the default disk size, for each zygote."""

    def __init__(
        self, resource_pool: HostResourcePool, policy: JailPolicy, answers: Answers, *, ready: int = READY_PREWARMED
    ) -> None:
        self._resource_pool = resource_pool
        self._policy = policy
        self._answers = answers
        self._target = ready
        self._ready: dict[ZygoteClient, deque[PrewarmedSandbox]] = {}
        self._filling: dict[ZygoteClient, asyncio.Task[None]] = {}
        self._timers: dict[ZygoteClient, asyncio.TimerHandle] = {}
        self._numbers = itertools.count(1)
        self._closed = False
        self._starts = 0
        # Set while no sandbox is being prepared.
        self._quiet = asyncio.Event()
        self._quiet.set()

    async def undisturbed(self, zygote: ZygoteClient, start: Start, output: StartOutput) -> None:
        """Runs a start that takes a sandbox from this pool. Refilling waits for its end while another one is ready."""
        self._starts += 1
        try:
            await start(zygote, self, output)
        finally:
            self._starts -= 1

    async def take(self, zygote: ZygoteClient, disk_mb: int) -> PrewarmedSandbox:
        """A living sandbox; does not wait if one is ready. Raises `SandboxStartFailed` or `OSError`."""
        if disk_mb != DEFAULT_DISK_MB:
            return await self._make(zygote, disk_mb)
        self.refill_later(zygote)
        ready = self._ready.get(zygote)
        while ready:
            prewarmed = ready.popleft()
            if not prewarmed.jailed.gone.is_set():
                return prewarmed
            await prewarmed.discard(self._resource_pool)
        return await self._make(zygote, disk_mb)

    def refill_later(self, zygote: ZygoteClient) -> None:
        """Schedules the preparation of this zygote's sandboxes, until enough are ready."""
        if self._target and not self._closed and zygote not in self._timers:
            loop = asyncio.get_running_loop()
            self._timers[zygote] = loop.call_later(REFILL_DELAY_S, self._refill, zygote)
            self._quiet.clear()

    async def retire(self, zygote: ZygoteClient) -> None:
        """Ends the prewarmed sandboxes of a zygote that is no longer used."""
        if timer := self._timers.pop(zygote, None):
            timer.cancel()
        if filling := self._filling.pop(zygote, None):
            filling.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await filling
        for prewarmed in self._ready.pop(zygote, ()):
            await prewarmed.discard(self._resource_pool)

    async def settled(self) -> None:
        """Returns once everything that is prepared ahead of use is ready."""
        await self._quiet.wait()

    async def close(self) -> None:
        self._closed = True
        for zygote in {*self._ready, *self._filling, *self._timers}:
            await self.retire(zygote)

    def _refill(self, zygote: ZygoteClient) -> None:
        del self._timers[zygote]
        if zygote not in self._filling:
            task = self._filling[zygote] = asyncio.get_running_loop().create_task(self._fill(zygote))
            task.add_done_callback(lambda _task: self._filled(zygote))

    def _filled(self, zygote: ZygoteClient) -> None:
        self._filling.pop(zygote, None)
        if not self._timers and not self._filling:
            self._quiet.set()

    async def _fill(self, zygote: ZygoteClient) -> None:
        ready = self._ready.setdefault(zygote, deque())
        # The next start will meet and report the same failure.
        with contextlib.suppress(SandboxStartFailed, OSError):
            while len(ready) < self._target:
                await self._let_starts_end(ready)
                ready.append(await self._make(zygote, DEFAULT_DISK_MB))

    async def _let_starts_end(self, ready: deque[PrewarmedSandbox]) -> None:
        postponed_s = 0.0
        while ready and self._starts and postponed_s < POSTPONED_MAX_S:
            await asyncio.sleep(LOOK_EVERY_S)
            postponed_s += LOOK_EVERY_S

    async def _make(self, zygote: ZygoteClient, disk_mb: int) -> PrewarmedSandbox:
        await zygote.ready()
        inside = await self._answers.inside() if self._policy.has_own_network(zygote.launch) else None
        resources = await self._resource_pool.take(disk_mb)
        with contextlib.ExitStack() as unless_born:
            # A process forked for a cancelled request is killed when the resources' cgroup is ended.
            unless_born.callback(self._resource_pool.remove, resources)
            with contextlib.ExitStack() as lent:
                lent.callback(resources.handed_over)
                if inside is not None:
                    resources.network = InstanceNetwork(inside, self._answers, f"instance {resources.uid}")
                wire, their_wire = socket.socketpair()
                unless_born.callback(wire.close)
                lent.callback(their_wire.close)
                command, their_command = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
                unless_born.callback(command.close)
                lent.callback(their_command.close)
                reading, writing = os.pipe()
                unless_born.callback(os.close, reading)
                lent.callback(os.close, writing)
                fds = [their_wire.fileno(), writing, their_command.fileno()]
                jailed = await zygote.fork(self._request(resources, disk_mb, fds), fds)
                if resources.network is not None:
                    resources.network.begin()
                resources.hold_mounts_of(jailed)
            unless_born.pop_all()
        return PrewarmedSandbox(resources, jailed, command, wire, reading)

    def _request(self, resources: HostResources, disk_mb: int, fds: list[int]) -> dict[str, Any]:
        """The message that runtime/jail/steps.py expects. Appends the resources' descriptors to `fds`."""

        def lend(fd: int) -> int:
            fds.append(fd)
            return len(fds) - 1

        group, holds = resources.group, self._policy.holds
        return {
            "id": f"s{next(self._numbers)}",
            "socket": 0,
            "output": 1,
            "command": 2,
            "cgroup": lend(group.unified_fd) if group is not None and group.unified_fd >= 0 else -1,
            "tasks": [lend(fd) for fd in group.task_fds] if group is not None else [],
            "disk": lend(resources.disk_fd) if resources.disk_fd >= 0 and holds("disk") else -1,
            "disk_mb": disk_mb if holds("disk") else DISK_WITHOUT_WALL_MB,
            "network": resources.network.request(lend) if resources.network is not None else None,
            "host_is_visible": self._policy.host_is_visible,
            **confinement(resources, self._policy),
        }


def confinement(resources: HostResources, policy: JailPolicy) -> dict[str, Any]:
    """The message fields that confine every process of an instance, for instances and for commands.

    `limits` are named as in the module `resource`. `processes` bounds the processes of the instance's own user; 0 if
    another mechanism bounds them.
    """
    counted = resources.group is not None and resources.group.counts_processes
    return {
        "uid": resources.uid,
        "limits": {"RLIMIT_CORE": 0, "RLIMIT_NOFILE": policy.file_descriptors} if policy.holds("limits") else {},
        "processes": PROCESSES if policy.holds("processes") and not counted else 0,
        "memory_is_counted": resources.counts_memory,
        "user_namespace": policy.user_namespace,
        "without": sorted(policy.without),
    }
