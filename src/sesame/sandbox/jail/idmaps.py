"""Exchanges the owner of a volume's files for an instance's user, for one mount: on the disk they stay the owner's.

Used by `jail.volumes` and `jail.images`, as root. The kernel takes such an exchange as a user namespace;
`idmap_process` makes them.
"""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from threading import Lock

from sesame.sandbox.jail import idmap_process
from sesame.sandbox.jail import mounts as jail_mounts

ANSWER_TIMEOUT_S = 20.0
_IDS = 2**32 - 1


class IdMaps:
    """Starts its process at the first request; the process ends with `close`, and with Sesame."""

    def __init__(self) -> None:
        # Of one answer.
        self.timeout_s = ANSWER_TIMEOUT_S
        self._lock = Lock()
        self._socket: socket.socket | None = None
        self._process: subprocess.Popen[bytes] | None = None

    def namespace(self, users: tuple[int, int], groups: tuple[int, int]) -> int:
        """A descriptor of the namespace in which the ids of each pair are exchanged. Blocks. Raises `OSError`."""
        request = json.dumps([exchange(*users), exchange(*groups)]).encode()
        with self._lock:
            try:
                return self._asked(request)
            except ConnectionError:
                # It was killed from outside: a new one does as well.
                self._close()
                return self._asked(request)
            except TimeoutError:
                # What it answers later would be taken for the next answer.
                self._close()
                raise

    def mount(self, directory: int, users: tuple[int, int], groups: tuple[int, int], *, read_only: bool = False) -> int:
        """A mount of the open directory in which the ids of each pair are exchanged. The caller closes both.

        Blocks. Raises `OSError`, also where the file system does not allow that.
        """
        namespace = self.namespace(users, groups)
        try:
            return jail_mounts.tree_of(directory, namespace, read_only=read_only)
        finally:
            os.close(namespace)

    @property
    def pid(self) -> int:
        """Of the process; 0 while there is none."""
        return self._process.pid if self._process is not None else 0

    def close(self) -> None:
        with self._lock:
            self._close()

    def _asked(self, request: bytes) -> int:
        if self._socket is None:
            self._open()
        assert self._socket is not None
        self._socket.settimeout(self.timeout_s)
        self._socket.send(request)
        answer, fds, _flags, _address = socket.recv_fds(self._socket, idmap_process.REQUEST_BYTES, 1)
        if not answer:
            raise ConnectionResetError("the process that makes user namespaces has ended")
        if not fds:
            raise OSError(answer[1:].decode())
        os.set_inheritable(fds[0], False)
        return fds[0]

    def _open(self) -> None:
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-E", "-s", "-S", str(Path(idmap_process.__file__)), str(theirs.fileno())],
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


def exchange(on_disk: int, shown: int) -> str:
    """The map in which the two ids have each other's place and every other id keeps its own."""
    if on_disk == shown:
        return f"0 0 {_IDS}"
    low, high = sorted((on_disk, shown))
    lines = ((0, 0, low), (low, high, 1), (low + 1, low + 1, high - low - 1), (high, low, 1))
    rest = (high + 1, high + 1, _IDS - high - 1)
    return "\n".join(f"{inside} {outside} {count}" for inside, outside, count in (*lines, rest) if count)
