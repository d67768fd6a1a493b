"""Leads connections of this node's clients to other nodes, each through a connection of its own to their agent port.

One for each process that takes connections which others answer; `arrivals` is the other side. A client's connection is
not read before the other node has proven itself, and belongs to `copying` from there on.
"""

import asyncio
import contextlib
import heapq
import socket
import struct
import sys
from collections import Counter
from collections.abc import Awaitable, Callable

import msgspec
import structlog

from sesame.cluster.copying import PIECE_BYTES, Copying
from sesame.cluster.handshake import Purpose
from sesame.cluster.heads import Head, framed
from sesame.cluster.port import Address, connect
from sesame.http.admission import EVICTED_SHARE, TOO_MANY
from sesame.http.limits import PEER_SHARE
from sesame.model.errors import PlatformError
from sesame.model.seldom import Seldom

# One round trip for the connection, one for the handshake; a node that is gone says nothing.
CONNECTS_WITHIN_S = 2.0
# A client waits so long for somebody who answers, in all: for a writer that another takes the place of.
AWAY_S = 15.0
RETRIES_EVERY_S = 0.2
# So that the handshakes of one burst do not use up the time of each other.
CONNECTING_AT_ONCE = 64
# POLICY: a tunnel on which nothing has passed for so long, and the last of it an answer if anything was asked, may be
# closed for another.
IDLE_S = 1.0
# POLICY: a node that has acknowledged nothing for so long, of what was sent or of what asks for room, is gone. TCP by
# itself would try for a quarter of an hour.
GONE_S, LOOKS_EVERY_S = 20.0, 5.0
# From linux/tcp.h: where `struct tcp_info` has what is looked at, and how much of it that takes.
_PROBES, _UNACKNOWLEDGED, _LAST_ACK_MS, _TCP_INFO_BYTES = 3, 24, 56, 60

# To clients, who need not know the nodes.
STOPS = "this node stops; try again later"
AWAY = "the node that serves this does not answer; try again later"

Where = Callable[[], Awaitable[Address]]
"""Whom a tunnel leads to: waits until it is known. Asked again where that node does not answer."""

log = structlog.get_logger("sesame.cluster")


class Client(msgspec.Struct, frozen=True):
    """A connection that is to be led on, and what was read of it. `peer` is the client, as bounds count it.

    With `most`, the client may have so many at a time.
    `failed` gets the socket back, unread, with the reason why there is nobody who answers.
    """

    connected: socket.socket
    peer: str
    data: bytes
    failed: Callable[[socket.socket, str], None]
    most: int = 0


def close_unheard(connected: socket.socket, _why: str) -> None:
    """For `Client.failed`: nobody knows what the client speaks, and so how to tell it."""
    connected.close()


class Tunnels:
    """Belongs to the event loop that is running. `close` once."""

    def __init__(self, key: bytes, most: int) -> None:
        """`most` tunnels at a time."""
        self._key = key
        self._most = most
        self._most_of_peer = max(int(most * PEER_SHARE), 1)
        self._buffer = bytearray(PIECE_BYTES)
        self._loop = asyncio.get_running_loop()
        self._opening: dict[asyncio.Task[None], Client] = {}
        self._open: dict[Copying, tuple[Address, str]] = {}
        self._of_peer: Counter[str] = Counter()
        self._changed = asyncio.Event()
        self._connecting = asyncio.Semaphore(CONNECTING_AT_ONCE)
        self._closed = False
        self._looking: asyncio.TimerHandle | None = None
        self._says = Seldom(self._loop.time)

    def __len__(self) -> int:
        return len(self._open) + len(self._opening)

    def lead(self, client: Client, head: Head, where: Where, *, away_s: float = AWAY_S) -> None:
        """Connects the client to the node that `where` says, which has `away_s` to be there. The socket is taken."""
        if self._closed:
            client.failed(client.connected, STOPS)
            return
        if not self._has_place(client.peer, client.most or self._most_of_peer):
            client.failed(client.connected, TOO_MANY)
            return
        self._of_peer[client.peer] += 1
        task = self._loop.create_task(self._lead(client, framed(head), where, away_s))
        self._opening[task] = client
        task.add_done_callback(self._opened)

    def end(self, address: Address) -> None:
        """The node is gone: what leads there is reset, as nobody else would tell its clients."""
        for copying, (to, _peer) in list(self._open.items()):
            if to == address:
                copying.abort()

    async def close(self, grace_s: float) -> None:
        """Leads nobody on from here. What is under way gets `grace_s` to end, then is reset."""
        self._closed = True
        for task in list(self._opening):
            task.cancel()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(grace_s):
                while len(self):
                    self._close_idle()
                    self._changed.clear()
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(IDLE_S / 4):
                            await self._changed.wait()
        for copying in list(self._open):
            copying.abort()
        if self._looking is not None:
            self._looking.cancel()
        while self._opening:
            await asyncio.wait(self._opening)

    def _opened(self, task: asyncio.Task[None]) -> None:
        client = self._opening.pop(task)
        self._changed.set()
        if task.cancelled():
            failed = STOPS
        elif (error := task.exception()) is not None:
            failed, unknown = AWAY, not isinstance(error, OSError | PlatformError)
            self._tell(repr(error), error if unknown else None)
        else:
            return
        self._leave(client.peer)
        client.failed(client.connected, failed)

    def _tell(self, why: str, error: BaseException | None) -> None:
        if self._says.may() or error is not None:
            log.error("a connection could not be led to another node", why=why, exc_info=error)

    async def _lead(self, client: Client, head: bytes, where: Where, away_s: float) -> None:
        """Raises `OSError` and `PlatformError`; then nothing was read of the client, nor said by it."""
        address, far = await self._reach(where, away_s)
        try:
            async with asyncio.timeout(CONNECTS_WITHIN_S):
                await self._loop.sock_sendall(far, head)
        except BaseException:
            far.close()
            raise
        copying = Copying(client.connected, far, self._buffer, lambda: self._ended(copying))
        self._open[copying] = address, client.peer
        if self._looking is None:
            self._looking = self._loop.call_later(LOOKS_EVERY_S, self._look)
        copying.start(client.data)

    async def _reach(self, where: Where, away_s: float) -> tuple[Address, socket.socket]:
        until = self._loop.time() + away_s
        while True:
            async with asyncio.timeout_at(until):
                address = await where()
            try:
                async with self._connecting:
                    return address, await connect(address, self._key, Purpose.TUNNEL, within_s=CONNECTS_WITHIN_S)
            except OSError:
                # Another may have taken its place meanwhile.
                if self._loop.time() + RETRIES_EVERY_S >= until:
                    raise
            await asyncio.sleep(RETRIES_EVERY_S)

    def _look(self) -> None:
        """Resets what leads to nodes that are gone."""
        for copying in [each for each in self._open if _is_gone(each.far)]:
            copying.abort()
        self._looking = self._loop.call_later(LOOKS_EVERY_S, self._look) if self._open else None

    def _ended(self, copying: Copying) -> None:
        _address, peer = self._open.pop(copying)
        self._leave(peer)
        self._changed.set()

    def _leave(self, peer: str) -> None:
        self._of_peer[peer] -= 1
        if not self._of_peer[peer]:
            del self._of_peer[peer]

    def _has_place(self, peer: str, most: int) -> bool:
        """POLICY: as `http.admission`: at a bound, those that have been idle longest make place."""
        if self._of_peer.get(peer, 0) >= most:
            return self._evict(peer, most)
        return len(self) < self._most or self._evict(None, self._most)

    def _evict(self, peer: str | None, bound: int) -> bool:
        idle = [
            (copying.active_at, number, copying)
            for number, (copying, (_to, of)) in enumerate(self._open.items())
            if (peer is None or of == peer) and self._is_idle(copying)
        ]
        for _since, _number, copying in heapq.nsmallest(max(int(bound * EVICTED_SHARE), 1), idle):
            copying.close()
        return bool(idle)

    def _close_idle(self) -> None:
        for copying in [each for each in self._open if self._is_idle(each)]:
            copying.close()

    def _is_idle(self, copying: Copying) -> bool:
        nothing_asked = copying.answered_last or not copying.bytes_passed
        return nothing_asked and self._loop.time() - copying.active_at >= IDLE_S


def _is_gone(far: socket.socket) -> bool:
    """Never where the kernel does not say."""
    if sys.platform != "linux":
        return False
    info = far.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO_BYTES)
    unacknowledged, last_ack_ms = (struct.unpack_from("=I", info, at)[0] for at in (_UNACKNOWLEDGED, _LAST_ACK_MS))
    return (unacknowledged > 0 or info[_PROBES] > 0) and last_ack_ms >= GONE_S * 1000
