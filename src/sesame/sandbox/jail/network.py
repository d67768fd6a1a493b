"""The host's side of one instance's own network: the sockets in it that the host holds.

Made by `jail.prewarmed` for each instance, closed by `jail.host_resources`. The other side is runtime/jail/network.py.
"""

import asyncio
import ctypes
import os
import socket
import struct
from collections.abc import Callable
from typing import Any

import structlog

from sesame.sandbox.network import Answers, Inside, Listen

LOOPBACK = "127.0.0.1"
# Making a socket takes well under a millisecond, unless the function keeps the backlog of the socket behind it full.
MAKE_TIMEOUT_S = 5.0
# Connections of the function that are dropped before the event loop turns to other work, and for how long it does.
DROPPED_AT_ONCE, PAUSE_S = 16, 0.01
_NOT_CONNECTED = struct.pack("=H14x", socket.AF_UNSPEC)

log = structlog.get_logger("sesame.sandbox")
_libc = ctypes.CDLL(None, use_errno=True)


class InstanceNetwork:
    """Holds the namespace's sockets from the moment the instance sends them until `close`."""

    def __init__(self, inside: Inside, answers: Answers, name: str) -> None:
        self._inside = inside
        self._answers = answers
        self._name = name
        self._ours, self._theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._ours.setblocking(False)
        self._ends: dict[Listen, Callable[[], None]] = {}
        self._maker: SocketMaker | None = None
        self._arrived = asyncio.Event()

    def request(self, lend: Callable[[int], int]) -> dict[str, Any]:
        """What runtime/jail/network.py expects."""
        return {
            "socket": lend(self._theirs.fileno()),
            "addresses": list(self._inside.addresses),
            "listens": [[each.kind, each.address, each.port] for each in self._inside.listens],
        }

    def begin(self) -> None:
        """Called once the instance was asked for: answers as soon as its sockets arrive."""
        self._theirs.close()
        asyncio.get_running_loop().add_reader(self._ours.fileno(), self._on_readable)

    def add_variables(self, environment: dict[str, str]) -> None:
        """Those that lead out of the network, but none that the function has itself, in whichever case."""
        present = {name.lower() for name in environment}
        for name, value in self._inside.environment.items():
            if name.lower() not in present:
                environment[name] = value

    async def release(self, port: int) -> None:
        """The host answers no more on this TCP port: what the instance runs may listen there."""
        await self._arrived.wait()
        for listen in [each for each in self._ends if (each.kind, each.port) == ("tcp", port)]:
            self._ends.pop(listen)()

    async def connect(self, port: int) -> socket.socket:
        """A connection from inside to 127.0.0.1:`port` there, which does not block. Raises `OSError` within a while.

        The namespace is never entered: the socket that is connected was made in it.
        """
        await self._arrived.wait()
        if self._maker is None:
            raise ConnectionResetError("the instance's network has ended")
        return await connected(await self._maker.make(), port)

    def close(self) -> None:
        """The host answers no more, and holds nothing of the namespace; idempotent."""
        self._stop_reading()
        self._theirs.close()
        while self._ends:
            self._ends.popitem()[1]()
        self._arrived.set()
        if self._maker is not None:
            self._maker.close()
            self._maker = None

    def _on_readable(self) -> None:
        expected = len(self._inside.listens) + 2
        try:
            # No program that Sesame starts may have them.
            _data, fds, flags, _address = socket.recv_fds(self._ours, 1, expected, socket.MSG_CMSG_CLOEXEC)
        except BlockingIOError:
            return
        except OSError:
            fds, flags = [], 0
        self._stop_reading()
        if len(fds) != expected:
            for fd in fds:
                os.close(fd)
            if fds or flags & socket.MSG_CTRUNC:
                # Its own loopback is all that the instance has then; the operator learns why.
                log.error("an instance's network cannot be answered: no descriptors left", instance=self._name)
            self._arrived.set()
            return
        *listening, makers, maker = (socket.socket(fileno=fd) for fd in fds)
        for each in (*listening, makers, maker):
            each.setblocking(False)
        for listen, made in zip(self._inside.listens, listening, strict=True):
            self._ends[listen] = self._answers.serve(listen, made, self._name)
        self._maker = SocketMaker(makers, maker)
        self._arrived.set()

    def _stop_reading(self) -> None:
        if self._ours.fileno() >= 0:
            asyncio.get_running_loop().remove_reader(self._ours.fileno())
            self._ours.close()


class SocketMaker:
    """Makes sockets of another network namespace out of two that were made there.

    A connection between the two gives a third socket of that namespace; both ends are then disconnected, which makes
    them as good as new. The function can connect to the one that listens, too: what it says there is dropped, and where
    it fills the backlog faster than that, `make` fails.
    """

    def __init__(self, listening: socket.socket, seed: socket.socket) -> None:
        self._listening = listening
        self._seed = seed
        self._making = asyncio.Lock()

    async def make(self, within_s: float = MAKE_TIMEOUT_S) -> socket.socket:
        """Raises `TimeoutError`, which is an `OSError`."""
        try:
            async with asyncio.timeout(within_s), self._making:
                return await self._make()
        except TimeoutError as error:
            raise TimeoutError(
                f"no connection into the instance's network could be made within {within_s:g} s: the function may keep "
                "connecting to every port of its loopback; expected it to connect to its own ports only"
            ) from error

    async def _make(self) -> socket.socket:
        address = self._listening.getsockname()
        connecting = asyncio.ensure_future(asyncio.get_running_loop().sock_connect(self._seed, address))
        # Meanwhile, because a backlog that the function has filled would hold the connection up.
        accepting = asyncio.ensure_future(self._accepted())
        try:
            await asyncio.wait({connecting, accepting}, return_when=asyncio.FIRST_EXCEPTION)
            await connecting
            made = accepting.result()
            try:
                _disconnect(made)
            except OSError:
                made.close()
                raise
            return made
        except BaseException:
            accepting.add_done_callback(_close_accepted)
            raise
        finally:
            connecting.cancel()
            accepting.cancel()
            # Also after a failure: the next one is made with it too.
            _disconnect(self._seed)

    async def _accepted(self) -> socket.socket:
        """The other end of the seed's connection; what else comes is of the function, which has no business here."""
        loop = asyncio.get_running_loop()
        dropped = 0
        while True:
            made, peer = await loop.sock_accept(self._listening)
            if peer == self._seed.getsockname():
                return made
            made.close()
            dropped += 1
            if dropped % DROPPED_AT_ONCE == 0:
                await asyncio.sleep(PAUSE_S)

    def close(self) -> None:
        self._listening.close()
        self._seed.close()


def _close_accepted(accepting: "asyncio.Future[socket.socket]") -> None:
    if not accepting.cancelled() and accepting.exception() is None:
        accepting.result().close()


async def connected(made: socket.socket, port: int) -> socket.socket:
    """The socket, connected to 127.0.0.1:`port`; closed where that fails."""
    made.setblocking(False)
    try:
        await asyncio.get_running_loop().sock_connect(made, (LOOPBACK, port))
    except BaseException:
        made.close()
        raise
    return made


def _disconnect(connected: socket.socket) -> None:
    """The socket can be connected anew."""
    # Takes what the end of the other side left behind.
    connected.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    if _libc.connect(ctypes.c_int(connected.fileno()), _NOT_CONNECTED, ctypes.c_uint(len(_NOT_CONNECTED))) < 0:
        error = ctypes.get_errno()
        raise OSError(error, f"disconnect: {os.strerror(error)}")
