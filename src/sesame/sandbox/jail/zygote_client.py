"""The host's side of one zygote: starts it, asks it to fork, and learns of the ends of what it forked.

Used by `jail.driver`, one per runtime. The process itself is runtime/jail/root.py and then runtime/jail/zygote.py.
Never blocks the event loop on a zygote; signals processes through pidfds, never by pid.
"""

import array
import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import structlog

from sesame.own_files import OWN_FILES
from sesame.sandbox.interface import SandboxStartFailed, StartFailure
from sesame.sandbox.jail.plan import root_plan
from sesame.sandbox.jail.policy import JailPolicy
from sesame.sandbox.launch import Launch
from sesame.sandbox.shim import SHIM

START_TIMEOUT_S = 30.0
CLOSE_TIMEOUT_S = 5.0
# Requests in flight: the kernel limits the descriptors in flight, and a zygote answers one request at a time.
IN_FLIGHT = 16
MAX_REQUEST_BYTES = 64 * 1024
_PACKET_BYTES = 4096
_LOG_BYTES = 4096
# As in runtime/jail/init.py.
_STOP, _RESUME, _END_CROWD = b"s", b"r", b"c"

log = structlog.get_logger("sesame.sandbox")


class JailedProcess:
    """An instance's process 1, with everything below it. Holds a pidfd until the process is gone."""

    def __init__(self, pid: int, pidfd: int) -> None:
        self.pid = pid
        self.status: int | None = None
        self.gone = asyncio.Event()
        self.on_gone: Callable[[], None] = lambda: None
        self._pidfd = pidfd
        self._orders: socket.socket | None = None

    def kill(self) -> None:
        """Sends SIGKILL, which ends the whole pid namespace. `gone` is set when the last process has ended."""
        self._send(signal.SIGKILL)

    def takes_orders(self, orders: socket.socket) -> None:
        """From now on sends orders (`stop`, `resume`) to process 1 (runtime/jail/init.py) through this socket.

        Only process 1 has the other end, so a function can send it signals, but no orders. Closed when the process is
        gone.
        """
        orders.setblocking(False)
        if self.gone.is_set():
            orders.close()
        else:
            self._orders = orders

    def stop(self) -> None:
        """Makes process 1 stop all other processes of the instance, asynchronously. Orders are executed in sequence."""
        self._order(_STOP)

    def end_crowd(self) -> None:
        """Makes process 1 kill all processes of the instance except the function's own, which can then fork no more."""
        self._order(_END_CROWD)

    def resume(self) -> None:
        """Makes process 1 continue all other processes of the instance."""
        self._order(_RESUME)

    def _order(self, order: bytes) -> None:
        if self._orders is None:
            return
        try:
            self._orders.send(order)
        except ConnectionError:
            # The process has just ended.
            return
        except BlockingIOError:
            # Hundreds of orders are queued, so process 1 does not run; but the latest order must not be lost.
            log.error("an instance does not obey orders and is ended", pid=self.pid)
            self.kill()

    def _send(self, number: signal.Signals) -> None:
        if self._pidfd >= 0:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._pidfd, number)

    def lend(self) -> int:
        """A duplicate of the pidfd, for the caller to close."""
        return os.dup(self._pidfd)

    def lives(self) -> bool:
        """Whether `pid` still refers to this process; False once the zygote has reaped it."""
        if self._pidfd < 0:
            return False
        try:
            signal.pidfd_send_signal(self._pidfd, 0)
        except ProcessLookupError:
            return False
        except PermissionError:
            # The process exists, but now runs as the instance's user.
            return True
        return True

    def describe_exit(self) -> str:
        """`exit status 3`, `killed by SIGSEGV`, `killed by signal 40`, or "" if it is unknown.

        Process 1 exits with 128 plus the signal's number, like a shell, so statuses 129 to 192 are read as signals.
        """
        if self.status is None or os.waitstatus_to_exitcode(self.status) < 0:
            return ""
        code = os.waitstatus_to_exitcode(self.status)
        if code <= 128:
            return f"exit status {code}"
        number = code - 128
        if number > signal.SIGRTMAX:
            return f"exit status {code}"
        try:
            return f"killed by {signal.Signals(number).name}"
        except ValueError:
            return f"killed by signal {number}"

    def has_gone(self, status: int | None) -> None:
        """Called once by the client, when the zygote has reaped the process or has ended itself."""
        self.status = status
        os.close(self._pidfd)
        self._pidfd = -1
        if self._orders is not None:
            self._orders.close()
            self._orders = None
        self.gone.set()
        self.on_gone()


class ZygoteClient:
    """One zygote. When it dies, everything it forked dies too (parent-death signal), and a new one is needed."""

    def __init__(self, launch: Launch, staging: Path, policy: JailPolicy) -> None:
        self.launch = launch
        self._staging = staging
        self._policy = policy
        self._child: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None
        self._log = -1
        self._ready: asyncio.Future[int] | None = None
        self._asked: dict[str, asyncio.Future[JailedProcess]] = {}
        self._jailed: dict[int, JailedProcess] = {}
        self._in_flight = asyncio.Semaphore(IN_FLIGHT)

    @property
    def alive(self) -> bool:
        """Asks the kernel, because the event loop only notices the end of the control socket on its next turn."""
        return self._control is not None and self._child is not None and self._child.poll() is None

    @property
    def pid(self) -> int:
        return self._child.pid if self._child is not None else 0

    def open(self) -> None:
        """Starts the zygote; `ready` returns when it can fork."""
        loop = asyncio.get_running_loop()
        self._ready = loop.create_future()
        # Callers of `ready` and `fork` get the failure. Retrieve it here so that asyncio does not also report it.
        self._ready.add_done_callback(lambda ready: ready.exception())
        plan = root_plan(self.launch, self._staging, self._policy)
        OWN_FILES.warn("a zygote")
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._log = os.memfd_create("zygote")
        with theirs:
            self._child = subprocess.Popen(
                [str(self.launch.interpreter), "-S", "-E", "-B", str(SHIM / "jail" / "root.py"), str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=self._log,
                stderr=self._log,
                env={},
                cwd="/",
                start_new_session=True,
            )
        ours.setblocking(False)
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, IN_FLIGHT * MAX_REQUEST_BYTES)
        self._control = ours
        loop.add_reader(ours.fileno(), self._on_readable)
        ours.send(json.dumps(plan).encode())

    async def ready(self) -> int:
        """Waits for the zygote; returns its resident memory in kB. Raises `SandboxStartFailed`."""
        assert self._ready is not None, "the zygote is not open"
        try:
            async with asyncio.timeout(START_TIMEOUT_S):
                return await asyncio.shield(self._ready)
        except TimeoutError:
            raise SandboxStartFailed(
                f"{self.launch.interpreter}: the zygote is not ready {self._said()}",
                StartFailure.CRASHED,
                "the interpreter of its runtime was not ready in time",
            ) from None

    async def fork(self, request: dict[str, Any], fds: Sequence[int]) -> JailedProcess:
        """Forks one process with the descriptors `fds`, which remain the caller's. Raises `SandboxStartFailed`.

        If the call is cancelled, a process that is forked nevertheless is killed.
        """
        await self.ready()
        async with self._in_flight:
            if self._control is None:
                raise SandboxStartFailed(f"{self.launch.interpreter}: the zygote ended {self._said()}{OWN_FILES.hint}")
            rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))]
            self._control.sendmsg([json.dumps(request).encode()], rights)
            forked = self._asked[request["id"]] = asyncio.get_running_loop().create_future()
            try:
                return await asyncio.shield(forked)
            except asyncio.CancelledError:
                forked.add_done_callback(_kill_forked)
                raise

    async def close(self) -> None:
        """Hangs up; on return the zygote and everything it forked have ended."""
        self._hang_up()
        child, self._child = self._child, None
        if child is not None:
            try:
                await asyncio.to_thread(child.wait, CLOSE_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                child.kill()
                await asyncio.to_thread(child.wait)
        if self._log >= 0:
            os.close(self._log)
            self._log = -1

    def _on_readable(self) -> None:
        assert self._control is not None
        try:
            data, fds, _flags, _address = socket.recv_fds(self._control, _PACKET_BYTES, 1)
        except BlockingIOError:
            return
        except OSError:
            data, fds = b"", []
        if not data:
            self._hang_up()
            return
        self._on_message(json.loads(data), fds)

    def _on_message(self, message: dict[str, Any], fds: list[int]) -> None:
        if "resident_kb" in message and self._ready is not None:
            if not self._ready.done():
                self._ready.set_result(message["resident_kb"])
        elif "status" in message:
            if jailed := self._jailed.pop(message["pid"], None):
                jailed.has_gone(message["status"])
        elif forked := self._asked.pop(message["id"], None):
            if "error" in message:
                forked.set_exception(SandboxStartFailed(message["error"]))
            elif not fds:
                # The kernel could not install the descriptor. The process ends when the caller closes the other ends.
                failure = "Sesame has no descriptors left: raise its limit of open files"
                forked.set_exception(SandboxStartFailed(failure, StartFailure.TRANSIENT))
            else:
                jailed = self._jailed[message["pid"]] = JailedProcess(message["pid"], fds[0])
                forked.set_result(jailed)

    def _hang_up(self) -> None:
        """The control socket has closed: the zygote is dead or dying, and the kernel kills everything it forked."""
        control, self._control = self._control, None
        if control is None:
            return
        asyncio.get_running_loop().remove_reader(control.fileno())
        control.close()
        was_ready = self._ready is not None and self._ready.done()
        failure = SandboxStartFailed(
            f"{self.launch.interpreter}: the zygote ended {self._said()}{OWN_FILES.hint}",
            StartFailure.TRANSIENT if was_ready else StartFailure.CRASHED,
            "" if was_ready else "the interpreter of its runtime ended",
        )
        asked, self._asked = self._asked, {}
        for waiting in (self._ready, *asked.values()):
            if waiting is not None and not waiting.done():
                waiting.set_exception(failure)
        jailed, self._jailed = self._jailed, {}
        for one in jailed.values():
            one.kill()
            one.has_gone(None)

    def _said(self) -> str:
        """The end of the zygote's output, usually a traceback."""
        if self._log < 0:
            return ""
        size = os.fstat(self._log).st_size
        return os.pread(self._log, _LOG_BYTES, max(0, size - _LOG_BYTES)).decode("utf-8", "replace").strip()


def _kill_forked(forked: "asyncio.Future[JailedProcess]") -> None:
    if not forked.cancelled() and forked.exception() is None:
        forked.result().kill()
