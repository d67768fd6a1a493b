"""Sesame's side of the spawner process: starts it, has it start and end processes, and learns of deaths.

Used by `process.driver`; the process itself is spawner_process.py. Sesame does not fork directly because it has
threads. Signals are sent by the process that reaps, so that a pid cannot have been reused.
"""

import array
import asyncio
import json
import os
import signal
import socket
import struct
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from sesame.own_files import OWN_FILES
from sesame.sandbox.interface import SandboxStartFailed

# The numbers under which a started process finds its two descriptors.
SOCKET_FD = 3
OUTPUT_FD = 1

_PROGRAM = Path(__file__).with_name("spawner_process.py")
_SIZE = struct.Struct(">I")
_READ_BYTES = 64 * 1024
_CLOSE_TIMEOUT_S = 15.0


class Start(msgspec.Struct, frozen=True):
    """What to run. `limits` maps names in the module `resource` to the value of both soft and hard limit.

    A `command` gets three descriptors, for stdin, stdout and stderr, instead of socket and output. With `tty` they are
    a terminal, which becomes its controlling terminal.
    """

    instance_id: str
    argv: tuple[str, ...]
    env: Mapping[str, str]
    cwd: str
    limits: Mapping[str, int]
    command: bool = False
    tty: bool = False


class Process:
    """One started process, with all its descendants."""

    def __init__(self, spawner: "Spawner", instance_id: str, on_exit: Callable[[], None]) -> None:
        self._spawner = spawner
        self._instance_id = instance_id
        self._on_exit = on_exit
        self.pid = 0
        self.status: int | None = None
        self.exited = asyncio.Event()
        self._gone = asyncio.Event()
        self._asked = False

    async def kill(self) -> None:
        """Kills all processes of the instance; on return none is left. Idempotent."""
        if not self._asked:
            self._asked = True
            self._spawner.send({"op": "kill", "id": self._instance_id})
        await self._gone.wait()

    def signal(self, number: int, *, group: bool) -> None:
        """Signals the process, or with `group` all of the instance (on macOS its process group), if it still runs."""
        self._spawner.send({"op": "signal", "id": self._instance_id, "signal": number, "group": group})

    def describe_exit(self) -> str:
        """`exit status 3`, `killed by SIGSEGV`, or "" while that is unknown."""
        if self.status is None:
            return ""
        code = os.waitstatus_to_exitcode(self.status)
        if code >= 0:
            return f"exit status {code}"
        try:
            return f"killed by {signal.Signals(-code).name}"
        except ValueError:
            return f"killed by signal {-code}"

    def exit_code(self) -> int:
        """The exit code as a shell reports it. A process of unknown status counts as killed."""
        code = -signal.SIGKILL if self.status is None else os.waitstatus_to_exitcode(self.status)
        return code if code >= 0 else 128 - code

    def has_exited(self, status: int | None) -> None:
        """Called by the spawner when the process itself has ended; `status` is None if it is unknown."""
        if not self.exited.is_set():
            self.status = status
            self.exited.set()
            self._on_exit()

    def has_gone(self) -> None:
        """Called by the spawner when no descendant of the process is left."""
        self.has_exited(None)
        self._gone.set()


class Spawner:
    """The connection to one spawner process. If that dies, its processes die by their parent-death signal."""

    def __init__(self) -> None:
        self._child: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None
        self._unsent: deque[tuple[bytes, tuple[int, ...]]] = deque()
        self._received = bytearray()
        self._processes: dict[str, Process] = {}
        self._spawning: dict[str, asyncio.Future[None]] = {}

    @property
    def alive(self) -> bool:
        return self._control is not None

    @property
    def pid(self) -> int:
        return self._child.pid if self._child is not None else 0

    def open(self) -> None:
        """Starts the spawner process and listens to it on the running loop."""
        OWN_FILES.warn("the process spawner")
        ours, theirs = socket.socketpair()
        with theirs:
            self._child = subprocess.Popen(
                [sys.executable, "-I", "-S", "-E", str(_PROGRAM), str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                env={},
                cwd="/",
                start_new_session=True,
            )
        ours.setblocking(False)
        self._control = ours
        asyncio.get_running_loop().add_reader(ours.fileno(), self._on_readable)

    async def close(self) -> None:
        """Hangs up; on return the spawner process has ended, and before it every process that it started."""
        self._hang_up()
        if self._child is not None:
            child, self._child = self._child, None
            try:
                await asyncio.to_thread(child.wait, _CLOSE_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                child.kill()
                await asyncio.to_thread(child.wait)

    async def spawn(self, start: Start, fds: tuple[int, ...], on_exit: Callable[[], None]) -> Process:
        """Starts a process with the descriptors in `fds` (see `Start`), which remain the caller's.

        `on_exit` is called once, when the process has ended. Raises `SandboxStartFailed`.
        """
        if self._control is None:
            raise SandboxStartFailed("the spawner process is not running")
        # The caller may be cancelled before the message is written, so the message has its own duplicates.
        lent = _duplicates(fds)
        process = Process(self, start.instance_id, on_exit)
        self._processes[start.instance_id] = process
        spawned = self._spawning[start.instance_id] = asyncio.get_running_loop().create_future()
        self._post({"op": "spawn", "id": start.instance_id, **_fields(start)}, lent)
        try:
            await spawned
        except asyncio.CancelledError:
            await process.kill()
            raise
        finally:
            self._spawning.pop(start.instance_id, None)
        return process

    def send(self, message: dict[str, Any]) -> None:
        """Posts a request without descriptors. No effect once the spawner has ended, as no process is then left."""
        self._post(message, ())

    def _post(self, message: dict[str, Any], fds: tuple[int, ...]) -> None:
        if self._control is None:
            return
        data = json.dumps(message).encode()
        self._unsent.append((_SIZE.pack(len(data)) + data, fds))
        if len(self._unsent) == 1:
            self._on_writable()

    def _on_writable(self) -> None:
        control = self._control
        if control is None:
            return
        loop = asyncio.get_running_loop()
        while self._unsent:
            data, fds = self._unsent[0]
            rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
            try:
                sent = control.sendmsg([data], rights)
            except BlockingIOError:
                loop.add_writer(control.fileno(), self._on_writable)
                return
            except OSError:
                self._hang_up()
                return
            for fd in fds:
                os.close(fd)
            if sent < len(data):
                self._unsent[0] = (data[sent:], ())
            else:
                self._unsent.popleft()
        loop.remove_writer(control.fileno())

    def _on_readable(self) -> None:
        assert self._control is not None
        try:
            data = self._control.recv(_READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._hang_up()
            return
        self._received += data
        while len(self._received) >= 4:
            end = 4 + _SIZE.unpack_from(self._received)[0]
            if len(self._received) < end:
                break
            message = json.loads(bytes(self._received[4:end]))
            del self._received[:end]
            self._on_event(message)

    def _on_event(self, message: dict[str, Any]) -> None:
        name, event = message["id"], message["event"]
        process = self._processes.get(name)
        spawned = self._spawning.get(name)
        if event == "spawned" and process is not None:
            process.pid = message["pid"]
            if spawned is not None and not spawned.done():
                spawned.set_result(None)
        elif event == "failed" and process is not None:
            del self._processes[name]
            process.has_gone()
            if spawned is not None and not spawned.done():
                spawned.set_exception(SandboxStartFailed(f"fork failed: {message['error']}"))
        elif event == "exited" and process is not None:
            process.has_exited(message["status"])
        elif event == "gone" and process is not None:
            del self._processes[name]
            process.has_gone()

    def _hang_up(self) -> None:
        """The spawner is gone: treats all of its processes as ended."""
        control, self._control = self._control, None
        if control is None:
            return
        loop = asyncio.get_running_loop()
        loop.remove_reader(control.fileno())
        loop.remove_writer(control.fileno())
        control.close()
        for _data, fds in self._unsent:
            for fd in fds:
                os.close(fd)
        self._unsent.clear()
        for spawned in self._spawning.values():
            if not spawned.done():
                spawned.set_exception(SandboxStartFailed("the spawner process ended"))
        processes, self._processes = list(self._processes.values()), {}
        for process in processes:
            process.has_gone()


def _duplicates(fds: tuple[int, ...]) -> tuple[int, ...]:
    """All of them, or none: then raises `SandboxStartFailed`."""
    made: list[int] = []
    try:
        for fd in fds:
            made.append(os.dup(fd))
    except OSError as error:
        for fd in made:
            os.close(fd)
        raise SandboxStartFailed(f"the descriptors of a process cannot be sent: {error}") from error
    return tuple(made)


def _fields(start: Start) -> dict[str, Any]:
    return {
        "argv": list(start.argv),
        "env": dict(start.env),
        "cwd": start.cwd,
        "limits": dict(start.limits),
        "command": start.command,
        "tty": start.tty,
    }
