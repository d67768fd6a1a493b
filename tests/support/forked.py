"""Runs commands of Sesame, servers, and functions of tests, in processes that are forked instead of started.

One process for each run of pytest imports everything, once, and forks for each order. What runs has its own streams,
environment, directory and exit code, as in a process that was started; it saves the time of the imports.
"""

import atexit
import contextlib
import functools
import gc
import importlib
import itertools
import json
import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any, NoReturn

from tests.support import wanted_runtimes

REPOSITORY = Path(__file__).parents[2]
ORDER_BYTES_MAX = 200_000
TIMEOUT_S = 120.0
CLI = "sesame.cli.main:main"
# What commands import only once they run, beside their own modules.
IMPORTED_LATE = (
    "alembic.config",
    "alembic.command",
    "encodings.idna",
    "sesame.app",
    "sesame.cli.ending",
    "sesame.cli.local",
    "sesame.inside.authority",
    "sesame.inside.names",
    "sesame.sandbox.jail.driver",
)


class Forked:
    """A process that was forked. It is asked as a `subprocess.Popen` is: the code is negative for a signal."""

    def __init__(self, status: IO[bytes]) -> None:
        """`status` is unbuffered, so that what it has not given yet can be waited for."""
        self._status = status
        self._code: int | None = None
        self.pid = int(status.readline())

    def poll(self, timeout_s: float = 0.0) -> int | None:
        """The exit code, once it has ended or if it does so within this time."""
        if self._code is None:
            waiting = select.poll()
            waiting.register(self._status, select.POLLIN)
            if waiting.poll(timeout_s * 1000):
                with self._status:
                    self._code = int(self._status.readline())
        return self._code

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def wait(self, timeout_s: float = TIMEOUT_S) -> int:
        """Kills the process and fails when it does not end within this time."""
        if (code := self.poll(timeout_s)) is None:
            self.kill()
            raise TimeoutError(f"process {self.pid} did not end within {timeout_s:g} s and was killed")
        return code


def run(
    *arguments: str | bytes, event: bytes = b"", environ: Mapping[str, str], directory: Path | str = REPOSITORY
) -> "subprocess.CompletedProcess[bytes]":
    """`sesame ARGUMENTS`, as `subprocess.run` with captured output; `event` is its standard input."""
    streams = [_file(event), _file(), _file()]
    try:
        arguments_text = [os.fsdecode(each) for each in arguments]
        forked = _order(CLI, ["sesame", *arguments_text], [each.fileno() for each in streams], environ, str(directory))
        code = forked.wait()
        said = [os.pread(each.fileno(), os.fstat(each.fileno()).st_size, 0) for each in streams[1:]]
    finally:
        for each in streams:
            each.close()
    return subprocess.CompletedProcess(["sesame", *arguments_text], code, *said)


def start(*arguments: str, log: int, environ: Mapping[str, str] | None = None) -> Forked:
    """`sesame ARGUMENTS` in a session of its own, as a server is started; what it prints goes to this descriptor."""
    environ = os.environ if environ is None else environ
    nowhere = os.open(os.devnull, os.O_RDONLY)
    try:
        return _order(CLI, ["sesame", *arguments], [nowhere, log, log], environ, str(REPOSITORY), session=True)
    finally:
        os.close(nowhere)


def call(target: str, *arguments: str) -> tuple[Forked, IO[bytes]]:
    """Calls `module:function` with these texts; the file reads what it prints."""
    reading, writing = os.pipe()
    nowhere = os.open(os.devnull, os.O_RDONLY)
    try:
        forked = _order(target, list(arguments), [nowhere, writing, 2], os.environ, str(REPOSITORY))
    finally:
        os.close(writing)
        os.close(nowhere)
    return forked, os.fdopen(reading, "rb")


def call_and_kill(
    target: str, *arguments: str, after: int, counts: Callable[[bytes], bool] = lambda _line: True
) -> list[bytes]:
    """As `call`; the whole lines that count of what it printed before kill -9, some time after the `after`th."""
    child, printed = call(target, *arguments)
    with printed:
        try:
            said = list(itertools.islice(filter(counts, printed), after))
            assert len(said) == after, "the child ended by itself"
        finally:
            child.kill()
        said += filter(counts, printed)
    assert child.wait() == -signal.SIGKILL
    return [line for line in said if line.endswith(b"\n")]


def _file(content: bytes = b"") -> IO[bytes]:
    held = os.fdopen(os.memfd_create("stream"), "w+b")
    held.write(content)
    held.seek(0)
    return held


def _order(
    target: str,
    arguments: list[str],
    streams: list[int],
    environ: Mapping[str, str],
    directory: str,
    *,
    session: bool = False,
) -> Forked:
    reading, writing = os.pipe()
    order = {
        "target": target, "arguments": arguments, "environ": dict(environ), "directory": directory, "session": session,
    }  # fmt: skip
    try:
        socket.send_fds(_server(), [json.dumps(order).encode("utf-8", "surrogateescape")], [*streams, writing])
    finally:
        os.close(writing)
    return Forked(os.fdopen(reading, "rb", buffering=0))


@functools.cache
def _server() -> socket.socket:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        command = [sys.executable, "-c", f"from tests.support.forked import serve; serve({theirs.fileno()})"]
        server = subprocess.Popen(command, cwd=REPOSITORY, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL)

    def end() -> None:
        ours.close()
        server.wait()

    atexit.register(end)
    return ours


def serve(descriptor: int) -> None:
    """Ends when the run of pytest does."""
    _preload()
    # What was imported is for good: no fork searches it for garbage, which would copy its pages.
    gc.freeze()
    # The first fork of an order waits for the second and then ends; this process need not know how.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    orders = socket.socket(fileno=descriptor)
    while True:
        order, descriptors, _flags, _address = socket.recv_fds(orders, ORDER_BYTES_MAX, 4)
        if not order:
            return
        if os.fork() == 0:
            orders.close()
            _fork_and_wait(json.loads(order.decode("utf-8", "surrogateescape")), descriptors)
        for each in descriptors:
            os.close(each)


def _preload() -> None:
    """Imports every command, and makes what every server makes first: its routes and what converts to its Structs."""
    from starlette.routing import compile_path

    from sesame.cli.main import COMMANDS
    from sesame.fc.v2016.operations import OPERATIONS
    from sesame.model.prepared import prepare_all

    for name in {*IMPORTED_LATE, *(module for module, _line in COMMANDS.values())}:
        importlib.import_module(name)
    for operation in OPERATIONS:
        compile_path(operation.route)
    prepare_all()


def _fork_and_wait(order: dict[str, Any], descriptors: list[int]) -> NoReturn:
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    *streams, status = descriptors
    pid = os.fork()
    if pid == 0:
        os.close(status)
        _run(order, streams)
    for each in streams:
        os.close(each)
    os.write(status, b"%d\n" % pid)
    _pid, ended = os.waitpid(pid, 0)
    os.write(status, b"%d\n" % os.waitstatus_to_exitcode(ended))
    os._exit(0)


def _run(order: dict[str, Any], streams: list[int]) -> NoReturn:
    code: Any = 1
    try:
        for number, descriptor in enumerate(streams):
            os.dup2(descriptor, number)
        for descriptor in streams:
            if descriptor > 2:
                os.close(descriptor)
        os.environ.clear()
        os.environ.update(order["environ"])
        os.chdir(order["directory"])
        if order["session"]:
            os.setsid()
        sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115 (for the life of the process)
        sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115 (for the life of the process)
        sys.stderr = open(2, "w", encoding="utf-8", closefd=False, buffering=1)  # noqa: SIM115
        module, _colon, name = order["target"].partition(":")
        function = getattr(importlib.import_module(module), name)
        wanted_runtimes.look_for_those_of(os.environ)
        if order["target"] == CLI:
            sys.argv = order["arguments"]
            function()
        else:
            function(*order["arguments"])
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    finally:
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError):
                stream.flush()
        os._exit(code)
