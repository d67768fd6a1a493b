"""Calls a local function that an earlier `sesame invoke --keep` kept warm, or starts the process that keeps it.

The process listens on a socket in a directory that only its user may enter. Outdated code is never called: if the
code has changed, the process ends and a new one replaces it.
"""

import contextlib
import fcntl
import hashlib
import os
import socket
import stat
import struct
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from sesame.cli import local_code
from sesame.cli.local_call import LocalCall, LocalFunction
from sesame.model.errors import ConfigurationError
from sesame.model.invocation import Outcome
from sesame.settings import Settings

START_PATIENCE_S = 60.0
FRAME_BYTES_MAX = 256 * 1024 * 1024
LENGTH = struct.Struct(">I")
# The longest socket path that every system accepts.
SOCKET_PATH_MAX = 100


class Order(msgspec.Struct, frozen=True):
    """The process's parameters, sent to its standard input."""

    function: LocalFunction
    settings: Settings
    socket: str
    fingerprint: str


class Ask(msgspec.Struct, frozen=True):
    """One call, for code with this fingerprint; afterwards the function is kept for `keep_s` seconds."""

    call: LocalCall
    fingerprint: str
    keep_s: float


class Said(msgspec.Struct, frozen=True):
    """A message to the command: parts of the log, then the outcome or an error. `stale`: the code has changed."""

    log: bytes = b""
    outcome: Outcome | None = None
    error: str = ""
    stale: bool = False


def call_kept(
    function: LocalFunction, call: LocalCall, settings: Settings, keep_s: float, log: Callable[[bytes], None]
) -> Outcome:
    """Calls the kept function, or starts it first; passes its output to `log`. Raises `ConfigurationError`."""
    fingerprint = local_code.fingerprint(function.code)
    folder = _folder()
    path = folder / f"{_key(function, settings)}.sock"
    if len(os.fsencode(path)) > SOCKET_PATH_MAX:
        raise ConfigurationError(
            f"the path {path} is too long for a socket: set XDG_RUNTIME_DIR to a shorter directory"
        )
    ask = Ask(call, fingerprint, keep_s)
    with _locked(path.with_suffix(".lock")):
        connection = _connected(path, ask) or _started(Order(function, settings, str(path), fingerprint), path, ask)
    with connection:
        return _outcome(connection, log)


def _connected(path: Path, ask: Ask) -> socket.socket | None:
    """A connection whose call has started; None if no process keeps this code."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.connect(os.fspath(path))
        send(connection, msgspec.msgpack.encode(ask))
        first = receive(connection)
        if first is not None and not msgspec.msgpack.decode(first, type=Said).stale:
            return connection
    except OSError:
        # Nobody listens: the process has ended.
        pass
    connection.close()
    return None


def _started(order: Order, path: Path, ask: Ask) -> socket.socket:
    path.unlink(missing_ok=True)
    process = subprocess.Popen(
        [sys.executable, "-m", "sesame.cli.kept_process"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True, cwd="/",
    )  # fmt: skip
    assert process.stdin is not None
    assert process.stdout is not None
    with process.stdin, process.stdout:
        process.stdin.write(encoded(order))
        process.stdin.close()
        said = process.stdout.read().decode("utf-8", "replace").strip()
    if said != "ready":
        raise ConfigurationError(said or f"the process that keeps functions warm ended with {process.wait()}")
    connection = _connected(path, ask)
    if connection is None:
        raise ConfigurationError(
            "the process that keeps the function warm does not answer: try again, or leave --keep away"
        )
    return connection


def _outcome(connection: socket.socket, log: Callable[[bytes], None]) -> Outcome:
    while (frame := receive(connection)) is not None:
        said = msgspec.msgpack.decode(frame, type=Said)
        if said.error:
            raise ConfigurationError(said.error)
        if said.outcome is not None:
            return said.outcome
        log(said.log)
    raise ConfigurationError("the process that keeps the function warm ended during the call: try again")


def encoded(value: object) -> bytes:
    return msgspec.msgpack.encode(value, enc_hook=os.fspath, order="deterministic")


def order_of(data: bytes) -> Order:
    return msgspec.msgpack.decode(data, type=Order, dec_hook=_path)


def _path(kind: type, raw: object) -> object:
    if kind is Path:
        return Path(str(raw))
    raise NotImplementedError(kind)


def send(connection: socket.socket, data: bytes) -> None:
    connection.sendall(LENGTH.pack(len(data)) + data)


def receive(connection: socket.socket) -> bytes | None:
    """Reads one frame; None if the connection has ended."""
    head = _exactly(connection, LENGTH.size)
    if head is None:
        return None
    (length,) = LENGTH.unpack(head)
    return _exactly(connection, length) if length <= FRAME_BYTES_MAX else None


def _exactly(connection: socket.socket, length: int) -> bytes | None:
    data = bytearray()
    while len(data) < length:
        chunk = connection.recv(min(length - len(data), 1 << 20))
        if not chunk:
            return None
        data += chunk
    return bytes(data)


def _key(function: LocalFunction, settings: Settings) -> str:
    """A digest of the process's parameters, without the contents of the code."""
    return hashlib.sha256(encoded((function, settings))).hexdigest()[:32]


def _folder() -> Path:
    """The user's own directory. Raises `ConfigurationError` if another user owns the directory of that name."""
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    folder = Path(runtime, "sesame-kept") if runtime else Path(tempfile.gettempdir(), f"sesame-kept-{os.getuid()}")
    with contextlib.suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise ConfigurationError(f"{folder} is not a directory of yours that nobody else may enter: remove it")
    return folder


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Lets only one command at a time look for the process or start it."""
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
