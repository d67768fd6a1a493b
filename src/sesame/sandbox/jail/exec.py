"""Commands in one jailed instance: has the zygote fork them, and ends what is left of a session.

Created by `jail.instance`, one per instance. runtime/jail/command.py runs in the new processes. If it is uncertain
whether all processes of a session have ended, the whole instance is ended.
"""

import asyncio
import itertools
import json
import os
import socket
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from sesame.model.command import Command
from sesame.sandbox.exec_streams import CommandExecution, Sessions, Streams
from sesame.sandbox.interface import SandboxDied, SandboxStartFailed
from sesame.sandbox.jail.host_resources import HostResources
from sesame.sandbox.jail.policy import JailPolicy
from sesame.sandbox.jail.prewarmed import confinement
from sesame.sandbox.jail.zygote_client import MAX_REQUEST_BYTES, JailedProcess, ZygoteClient

# How long a session leader may take to end its session.
END_TIMEOUT_S = 3.0
# When an instance ends, its session leaders end a moment before the instance's own end is reported.
INSTANCE_END_GRACE_S = 0.5
# The exit code that a shell reports for a command killed by SIGKILL.
KILLED = 137
TERMINAL = "xterm-256color"
_numbers = itertools.count(1)


class Inside(msgspec.Struct, frozen=True):
    """The instance that commands enter. `environment` and `working_dir` are those of the function's process."""

    zygote: ZygoteClient
    resources: HostResources
    init: JailedProcess
    policy: JailPolicy
    environment: Mapping[str, str]
    working_dir: str


class Commands:
    """All commands of one instance. `on_lost` is called when a session may have left processes behind."""

    def __init__(self, inside: Inside, on_lost: Callable[[], None]) -> None:
        self._inside = inside
        self._on_lost = on_lost
        self._sessions = Sessions()
        self._joining = asyncio.Lock()

    async def start(self, command: Command) -> CommandExecution:
        """See `Sandbox.exec`."""
        inside = self._inside
        if inside.init.gone.is_set():
            raise SandboxDied("exit", "the instance has ended")
        environment = {**inside.environment, "TERM": TERMINAL} if command.tty else dict(inside.environment)
        order = {"argv": command.argv, "tty": command.tty, "cwd": inside.working_dir, "environment": environment}
        message = json.dumps(order).encode()
        if len(message) > MAX_REQUEST_BYTES:
            raise SandboxStartFailed(f"command and environment are too large: an order of {len(message)} bytes")
        streams = Streams(command)
        try:
            session = await self._forked(message, streams)
        except OSError as error:
            streams.close()
            raise SandboxStartFailed(f"a command could not enter its instance: {error}") from error
        except BaseException:
            streams.close()
            raise
        finally:
            if streams.lent[0] >= 0:
                streams.started()
        return await self._sessions.begin(streams, session)

    async def close(self) -> None:
        """Refuses commands, and returns when every session leader has ended. The instance must be ending already."""
        if ends := self._sessions.close():
            await asyncio.wait(ends)

    async def _forked(self, order: bytes, streams: Streams) -> "_Session":
        """If the caller is cancelled, the fork still completes: only then is it known what must be killed."""
        forking = asyncio.create_task(self._fork(order, streams))
        try:
            return await asyncio.shield(forking)
        except asyncio.CancelledError:
            await asyncio.wait({forking})
            if not forking.cancelled() and forking.exception() is None:
                forking.result().end()
                await asyncio.wait({forking.result().ended})
            raise

    async def _fork(self, order: bytes, streams: Streams) -> "_Session":
        inside = self._inside
        alive, their_alive = socket.socketpair()
        ordering, their_order = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        init = inside.init.lend()
        group = inside.resources.group
        try:
            ordering.send(order)
            if not inside.policy.user_namespace:
                # The command must be able to reopen them by name, as /dev/stdin.
                for fd in streams.lent:
                    os.fchown(fd, inside.resources.uid, inside.resources.uid)
            async with self._joining:
                fds = [init, their_alive.fileno(), their_order.fileno(), *streams.lent]
                if group is not None:
                    group.open()
                try:
                    jailed = await inside.zygote.fork(self._request(fds), fds)
                finally:
                    if group is not None:
                        group.joined()
        except BaseException:
            alive.close()
            raise
        finally:
            os.close(init)
            for end in (their_alive, ordering, their_order):
                end.close()
        return _Session(jailed, alive, self._lost)

    def _request(self, fds: list[int]) -> dict[str, Any]:
        """The message that runtime/jail/command.py expects. Appends the cgroup's descriptors to `fds`."""
        resources = self._inside.resources
        group, cgroup, tasks = resources.group, -1, []
        if group is not None:
            tasks = list(range(len(fds), len(fds) + len(group.task_fds)))
            fds.extend(group.task_fds)
            if group.unified_fd >= 0:
                cgroup = len(fds)
                fds.append(group.unified_fd)
        return {
            "id": f"x{next(_numbers)}",
            "init": 0,
            "alive": 1,
            "order": 2,
            "stdio": [3, 4, 5],
            "tasks": tasks,
            "cgroup": cgroup,
            "own_network": resources.network is not None,
            **confinement(resources, self._inside.policy),
        }

    def _lost(self) -> None:
        if not self._inside.init.gone.is_set():
            self._on_lost()


class _Session:
    """One session leader, represented by its monitor and the socket on which it reports the command's end."""

    def __init__(self, monitor: JailedProcess, alive: socket.socket, on_lost: Callable[[], None]) -> None:
        self.ended: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._monitor = monitor
        self._alive = alive
        self._on_lost = on_lost
        self._hung_up = False
        self._alive.setblocking(False)
        if monitor.gone.is_set():
            self._has_gone()
        else:
            monitor.on_gone = self._has_gone

    def end(self) -> None:
        """Hangs up, which makes the session leader end its session."""
        if not self.ended.done() and not self._hung_up:
            self._hung_up = True
            self._alive.shutdown(socket.SHUT_WR)
            asyncio.get_running_loop().call_later(END_TIMEOUT_S, self._insist)

    def _insist(self) -> None:
        if not self.ended.done():
            self._monitor.kill()

    def _has_gone(self) -> None:
        said = _reported_exit(self._alive)
        self._alive.close()
        # A session leader exits with 0 after ending everything in its session, even if it could not report.
        complete = said is not None or self._monitor.status == 0
        if not complete:
            asyncio.get_running_loop().call_later(INSTANCE_END_GRACE_S, self._on_lost)
        self.ended.set_result(KILLED if said is None else said)


def _reported_exit(alive: socket.socket) -> int | None:
    """The exit code, or None if none was reported."""
    try:
        said = alive.recv(16)
    except (BlockingIOError, ConnectionError):
        return None
    return int(said) if said.isdigit() else None
