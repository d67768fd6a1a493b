"""A helper process that creates objects in its own user namespace, and answers with their descriptors.

Contains both sides: `NamespaceProcess` runs in Sesame, used by `jail.idmaps` and `jail.fuse_mounts`; `answer` runs in
the process. A request is JSON; the answer is a byte with descriptors, or the error's text.
"""

import array
import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Sequence
from threading import Lock
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sesame.own_files import OwnFiles

ANSWER_TIMEOUT_S = 20.0
MESSAGE_BYTES = 4096
_MADE, _FAILED = b"+", b"-"


class NamespaceProcess:
    """Runs a module as a process, from the first request until `close` or the end of Sesame."""

    def __init__(self, module: str) -> None:
        # For one answer.
        self.timeout_s = ANSWER_TIMEOUT_S
        self._module = module
        self._lock = Lock()
        self._socket: socket.socket | None = None
        self._process: subprocess.Popen[bytes] | None = None

    def ask(self, request: Sequence[Any], descriptors: int) -> list[int]:
        """Returns `descriptors` many descriptors, which the caller closes. Blocks. Raises `OSError`."""
        message = json.dumps(request).encode()
        with self._lock:
            try:
                return self._asked(message, descriptors)
            except ConnectionError:
                # The process was killed from outside: use a new one.
                self._close()
                return self._asked(message, descriptors)
            except TimeoutError:
                # A late answer would be taken for that to the next request.
                self._close()
                raise

    @property
    def pid(self) -> int:
        """The process's pid; 0 while there is none."""
        return self._process.pid if self._process is not None else 0

    def close(self) -> None:
        with self._lock:
            self._close()

    def _asked(self, message: bytes, descriptors: int) -> list[int]:
        if self._socket is None:
            self._open()
        assert self._socket is not None
        self._socket.settimeout(self.timeout_s)
        self._socket.send(message)
        answer, fds, _flags, _address = socket.recv_fds(self._socket, MESSAGE_BYTES, descriptors)
        if not answer:
            raise ConnectionResetError(f"the process {self._module} has ended{_own_files().hint}")
        if len(fds) != descriptors:
            for fd in fds:
                os.close(fd)
            raise OSError(answer[1:].decode() or "no descriptors left: raise the limit of open files")
        for fd in fds:
            os.set_inheritable(fd, False)
        return fds

    def _open(self) -> None:
        _own_files().warn(self._module)
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-E", "-s", "-P", "-m", self._module, str(theirs.fileno())],
                stdin=subprocess.DEVNULL, pass_fds=[theirs.fileno()], env={}, cwd="/", start_new_session=True,
            )  # fmt: skip

    def _close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


def _own_files() -> "OwnFiles":
    # Imported late: the process loads this module too, and needs nothing of this.
    from sesame.own_files import OWN_FILES

    return OWN_FILES


def answer(make: Callable[..., list[int]]) -> None:
    """Answers each request with the result of `make`, on the socket given as the only argument, until Sesame ends."""
    requests = socket.socket(fileno=int(sys.argv[1]))
    while request := _received(requests):
        try:
            fds = make(*json.loads(request))
        except OSError as error:
            requests.send(_FAILED + str(error).encode())
            continue
        requests.sendmsg([_MADE], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))])
        for fd in fds:
            os.close(fd)


def _received(requests: socket.socket) -> bytes:
    """b"" at the end, including a reset, which occurs if Sesame was killed before reading an answer."""
    try:
        return requests.recv(MESSAGE_BYTES)
    except ConnectionResetError:
        return b""
