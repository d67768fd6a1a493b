"""Commands in one jailed instance: asks the zygote for them, and sees to it that none outlives its session.

Made by jail_instance.py, one for each instance. What happens in the new processes is runtime/jail/command.py.
Never lets a session go whose processes are not known to be gone: then the whole instance ends.
"""

import asyncio
import itertools
import json
import os
import socket
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from sesame.sandbox.addresses import CODE_ROOT
from sesame.sandbox.exec_streams import Sessions, Streamed, Streams
from sesame.sandbox.interface import Command, SandboxDied, SandboxStartFailed
from sesame.sandbox.jail.host_resources import Cell
from sesame.sandbox.jail.policy import Terms
from sesame.sandbox.jail.prewarmed import resource_limits
from sesame.sandbox.jail.zygote_client import MAX_REQUEST_BYTES, Forker, Jailed

# How long a keeper may take to end what it keeps.
END_TIMEOUT_S = 3.0
# The end of an instance ends its keepers a moment before it is reported itself.
LAST_WORDS_S = 0.5
# What a shell makes of SIGKILL.
KILLED = 137
TERMINAL = "xterm-256color"
_numbers = itertools.count(1)


class Inside(msgspec.Struct, frozen=True):
    """The instance that commands are to enter. `environment` is what the function's process was given."""

    forker: Forker
    cell: Cell
    init: Jailed
    terms: Terms
    environment: Mapping[str, str]


class Commands:
    """All commands of one instance. `on_lost` is called when a keeper has ended without having kept its word."""

    def __init__(self, inside: Inside, on_lost: Callable[[], None]) -> None:
        self._inside = inside
        self._on_lost = on_lost
        self._sessions = Sessions()
        self._joining = asyncio.Lock()

    async def start(self, command: Command) -> Streamed:
        """As `seam.Sandbox.exec` says."""
        inside = self._inside
        if inside.init.gone.is_set():
            raise SandboxDied("exit", "the instance has ended")
        environment = {**inside.environment, "TERM": TERMINAL} if command.tty else dict(inside.environment)
        order = {"argv": command.argv, "tty": command.tty, "cwd": CODE_ROOT, "environment": environment}
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
        """Waits until every keeper is gone: called when the instance was told to end, which ends them."""
        if ends := self._sessions.close():
            await asyncio.wait(ends)

    async def _forked(self, order: bytes, streams: Streams) -> "_Session":
        """What is on its way is let arrive when the caller goes: only then is it known what there is to end."""
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
        group = inside.cell.group
        try:
            ordering.send(order)
            if not inside.terms.user_namespace:
                # So that it can be opened anew, as /dev/stdin is.
                for fd in streams.lent:
                    os.fchown(fd, inside.cell.uid, inside.cell.uid)
            async with self._joining:
                fds = [init, their_alive.fileno(), their_order.fileno(), *streams.lent]
                if group is not None:
                    group.open()
                try:
                    jailed = await inside.forker.fork(self._request(fds), fds)
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
        """What runtime/jail/command.py wants to know; the group's descriptors are added to `fds`."""
        cell, terms = self._inside.cell, self._inside.terms
        group, cgroup, tasks = cell.group, -1, []
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
            "uid": cell.uid,
            "limits": resource_limits(cell, terms),
            "user_namespace": terms.user_namespace,
            "without": sorted(terms.without),
        }

    def _lost(self) -> None:
        if not self._inside.init.gone.is_set():
            self._on_lost()


class _Session:
    """One keeper, by its usher and the socket on which it says how the command ended."""

    def __init__(self, usher: Jailed, alive: socket.socket, on_lost: Callable[[], None]) -> None:
        self.ended: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._usher = usher
        self._alive = alive
        self._on_lost = on_lost
        self._hung_up = False
        self._alive.setblocking(False)
        if usher.gone.is_set():
            self._has_gone()
        else:
            usher.on_gone = self._has_gone

    def end(self) -> None:
        """The keeper hears that nobody listens any more, and ends what it keeps."""
        if not self.ended.done() and not self._hung_up:
            self._hung_up = True
            self._alive.shutdown(socket.SHUT_WR)
            asyncio.get_running_loop().call_later(END_TIMEOUT_S, self._insist)

    def _insist(self) -> None:
        if not self.ended.done():
            self._usher.kill()

    def _has_gone(self) -> None:
        said = _last_words(self._alive)
        self._alive.close()
        # A keeper ends with 0 when it has ended all that it kept; it speaks when there was nothing, too.
        kept = said is not None or self._usher.status == 0
        if not kept:
            asyncio.get_running_loop().call_later(LAST_WORDS_S, self._on_lost)
        self.ended.set_result(KILLED if said is None else said)


def _last_words(alive: socket.socket) -> int | None:
    """The exit code, or None when none was said."""
    try:
        said = alive.recv(16)
    except (BlockingIOError, ConnectionError):
        return None
    return int(said) if said.isdigit() else None
