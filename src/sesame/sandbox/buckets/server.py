"""Sesame's side of the bucket process: starts it on first use, and connects it to object storage.

Used by `jail.buckets`, on the event loop. When the process ends, every instance with a mounted bucket is notified.
"""

import asyncio
import contextlib
import itertools
import os
import socket
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import structlog

from sesame.model.bucket_mount import BucketMount
from sesame.model.invocation import Credentials
from sesame.own_files import OWN_FILES
from sesame.sandbox.buckets import protocol
from sesame.sandbox.buckets.fuse import Owner
from sesame.sandbox.interface import SandboxStartFailed, StartFailure
from sesame.sandbox.network import Answers

SERVED_TIMEOUT_S = 20.0
# A mount that has not ended after this time is logged, and the process is asked whether it still responds.
ENDED_TIMEOUT_S = 5.0
# POLICY: a process that does not respond is killed with all its mounts, so that nobody waits for it forever. Its answer
# is awaited LOOKS times for LOOK_S seconds each, because Sesame itself may have been blocked during one of them.
LOOKS, LOOK_S = 3, 5.0
# The name under which functions' mounts appear among the clients of object storage.
CLIENT = "mounted buckets"
_MODULE = "sesame.sandbox.buckets.process"

log = structlog.get_logger("sesame.buckets")


class ServedBucket:
    """One bucket in one instance, from `BucketServer.serve` until `end`."""

    def __init__(self, server: "BucketServer", number: int, keys: Credentials) -> None:
        self._server = server
        self._number = number
        self._keys = keys

    def use(self, keys: Credentials) -> None:
        """Uses these keys for all requests from now on."""
        if keys != self._keys:
            self._keys = keys
            self._server.tell(protocol.KEYS, self._number, keys=_wire(keys))

    def end(self) -> None:
        """Unblocks waiting processes with an error; files not closed yet become no objects. Idempotent."""
        self._server.forget(self._number)


class BucketServer:
    """One per driver. `drafts` is the folder for files that functions are writing."""

    def __init__(self, drafts: Path, answers: Answers) -> None:
        self._drafts = drafts
        self._answers = answers
        self._numbers = itertools.count(1)
        self._process: subprocess.Popen[bytes] | None = None
        self._socket: socket.socket | None = None
        self._take: Callable[[socket.socket, str], None] | None = None
        self._starting: dict[int, asyncio.Future[str]] = {}
        self._lost: dict[int, Callable[[], None]] = {}
        self._ending: dict[int, asyncio.TimerHandle] = {}
        # Messages that the process was too busy to take, with duplicated descriptors to close after sending.
        self._unsent: deque[tuple[bytes, list[int]]] = deque()
        # The timer for the next look while the process is asked whether it still responds; None otherwise.
        self._asked: asyncio.TimerHandle | None = None

    async def serve(
        self, mount: BucketMount, keys: Credentials, owner: Owner, device: int, lost: Callable[[], None]
    ) -> ServedBucket:
        """Serves the bucket's files, owned by `owner`, on the mount of this /dev/fuse, which the caller closes.

        `lost` is called if serving fails later. Raises `SandboxStartFailed`.
        """
        self._take = self._take or await self._answers.object_storage()
        if self._take is None:
            raise cannot_mount(mount, "there is no object storage; run the function in a server, `sesame start`")
        number = next(self._numbers)
        starting = self._starting[number] = asyncio.get_running_loop().create_future()
        self._lost[number] = lost
        try:
            if self._socket is None:
                self._start()
            self.tell(
                protocol.SERVE,
                number,
                device,
                bucket=mount.bucket,
                prefix=mount.prefix,
                keys=_wire(keys),
                user_id=owner.user_id,
                group_id=owner.group_id,
                read_only=mount.read_only,
            )
            async with asyncio.timeout(SERVED_TIMEOUT_S):
                problem = await starting
        except (OSError, TimeoutError) as error:
            self.forget(number)
            raise cannot_mount(mount, f"the process that serves it does not answer: {error}") from error
        except BaseException:
            self.forget(number)
            raise
        finally:
            self._starting.pop(number, None)
        if problem:
            self.forget(number)
            raise cannot_mount(mount, f"{problem}; make the bucket, or change the ossMountConfig")
        return ServedBucket(self, number, keys)

    def tell(self, kind: str, number: int, *fds: int, **fields: Any) -> None:
        """Sends a message; queues it if the process is busy."""
        message = protocol.encode({"kind": kind, "mount": number, **fields})
        if self._socket is None or (not self._unsent and self._taken(message, fds)):
            return
        self._unsent.append((message, [os.dup(fd) for fd in fds]))
        asyncio.get_running_loop().add_writer(self._socket, self._send_on)
        self._ask()

    def forget(self, number: int) -> None:
        """Ends the mount. Idempotent."""
        if self._lost.pop(number, None) is not None and self._socket is not None:
            loop = asyncio.get_running_loop()
            self._ending[number] = loop.call_later(ENDED_TIMEOUT_S, self._late, number)
            self.tell(protocol.END, number)

    async def close(self) -> None:
        """On return the process has ended."""
        process = self._process
        self._stop()
        if process is not None:
            await asyncio.to_thread(process.wait)

    def _start(self) -> None:
        self._drafts.mkdir(mode=0o700, parents=True, exist_ok=True)
        OWN_FILES.warn("the server of mounted buckets")
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", _MODULE, str(theirs.fileno()), str(self._drafts.resolve())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                # Keep the terminal's Ctrl-C away from it.
                process_group=0,
            )
        self._socket.setblocking(False)
        asyncio.get_running_loop().add_reader(self._socket, self._heed)

    def _taken(self, message: bytes, fds: Sequence[int]) -> bool:
        """Returns False if the socket is full because the process has not read earlier messages."""
        assert self._socket is not None
        try:
            socket.send_fds(self._socket, [message], fds)
        except BlockingIOError:
            return False
        except OSError as error:
            self._give_up(f"it does not listen: {error}")
        return True

    def _send_on(self) -> None:
        while self._socket is not None and self._unsent:
            message, fds = self._unsent[0]
            if not self._taken(message, fds):
                return
            if self._unsent:
                self._unsent.popleft()
                _close(fds)
        if self._socket is not None:
            asyncio.get_running_loop().remove_writer(self._socket)

    def _late(self, number: int) -> None:
        """POLICY: a mount that does not end affects only its instance, as long as the process responds at all."""
        del self._ending[number]
        log.warning("a mount of a bucket does not end", after_s=ENDED_TIMEOUT_S)
        self._ask()

    def _ask(self) -> None:
        if self._asked is None:
            self._asked = asyncio.get_running_loop().call_later(LOOK_S, self._look, LOOKS - 1)
            self.tell(protocol.PING, 0)

    def _look(self, left: int) -> None:
        # Read what arrived while Sesame itself was blocked.
        self._heed()
        if self._asked is None:
            return
        if left:
            self._asked = asyncio.get_running_loop().call_later(LOOK_S, self._look, left - 1)
        else:
            self._give_up(f"it has not answered for {LOOKS * LOOK_S:g} s")

    def _answered(self) -> None:
        if self._asked is not None:
            self._asked.cancel()
            self._asked = None

    def _heed(self) -> None:
        while self._socket is not None:
            try:
                received = protocol.receive(self._socket)
            except BlockingIOError:
                return
            if received is None:
                self._give_up("it has ended")
                return
            self._heard(*received)

    def _heard(self, message: dict[str, Any], fds: list[int]) -> None:
        if message["kind"] == protocol.CONNECT:
            self._connected(fds[0])
        elif message["kind"] == protocol.ENDED:
            if (ending := self._ending.pop(message["mount"], None)) is not None:
                ending.cancel()
        elif message["kind"] == protocol.SERVED:
            starting = self._starting.get(message["mount"])
            if starting is not None and not starting.done():
                starting.set_result(message["problem"])
        elif message["kind"] == protocol.PONG:
            self._answered()
        else:
            log.warning("a mounted bucket", said=message["text"])

    def _connected(self, fd: int) -> None:
        connection = socket.socket(fileno=fd)
        if self._take is None:
            connection.close()
            return
        try:
            self._take(connection, CLIENT)
        except OSError as error:
            connection.close()
            log.error("object storage does not accept connections of mounted buckets", error=str(error))

    def _give_up(self, why: str) -> None:
        log.error("the process that serves mounted buckets is being ended", why=why)
        self._stop()

    def _stop(self) -> None:
        """Kills the process. The kernel then fails all pending requests on its mounts."""
        if self._socket is None:
            return
        loop = asyncio.get_running_loop()
        loop.remove_reader(self._socket)
        loop.remove_writer(self._socket)
        self._socket.close()
        self._socket = None
        assert self._process is not None
        self._process.kill()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(0)
        for starting in self._starting.values():
            if not starting.done():
                starting.set_result("the process that serves it has ended")
        for ending in self._ending.values():
            ending.cancel()
        self._ending.clear()
        self._answered()
        while self._unsent:
            _close(self._unsent.popleft()[1])
        lost, self._lost = self._lost, {}
        for tell in lost.values():
            tell()


def cannot_mount(mount: BucketMount, why: str) -> SandboxStartFailed:
    """`why` must also say what to do, and must not name a path of this machine."""
    return SandboxStartFailed(
        f"the bucket '{mount.bucket}' cannot be mounted at {mount.mount_dir}: {why}", StartFailure.REFUSED
    )


def _close(fds: Iterable[int]) -> None:
    for fd in fds:
        os.close(fd)


def _wire(keys: Credentials) -> tuple[str, str, str]:
    return keys.access_key_id, keys.access_key_secret, keys.security_token
