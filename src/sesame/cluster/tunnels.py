"""Tunnels connections of this node's clients to other nodes, each over its own connection to their agent port.

One `Tunnels` for each process that accepts connections for others; `arrivals` is the receiving side. A client's
connection is read only after the other node has proven itself; from then on `copying` owns it.
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

# Covers one round trip for the connection and one for the handshake. A node that has vanished does not answer at all.
CONNECTS_WITHIN_S = 2.0
# How long a client waits in all for a node that answers, for example while another node becomes the writer.
AWAY_S = 15.0
RETRIES_EVERY_S = 0.2
# Limits concurrent handshakes, so that those of a burst do not make each other time out.
CONNECTING_AT_ONCE = 64
# POLICY: a tunnel may be closed in favour of a new one if nothing has passed for this long and no request is open: the
# last bytes were from the answering side, or there were none.
IDLE_S = 1.0
# POLICY: a node that has not acknowledged sent data or window probes for this long is gone. TCP itself would try for a
# quarter of an hour.
GONE_S, LOOKS_EVERY_S = 20.0, 5.0
# From linux/tcp.h: the offsets of the fields used in `struct tcp_info`, and how many bytes of it are read.
_PROBES, _UNACKNOWLEDGED, _LAST_ACK_MS, _TCP_INFO_BYTES = 3, 24, 56, 60

# Messages for clients, which need not know about nodes.
STOPS = "this node stops; try again later"
AWAY = "the node that serves this does not answer; try again later"

Where = Callable[[], Awaitable[Address]]
"""Returns the address of the node that a tunnel leads to, waiting until it is known. Called again if it fails."""

log = structlog.get_logger("sesame.cluster")


class Client(msgspec.Struct, frozen=True):
    """A connection to tunnel, with the data read from it so far.

    `peer` is the client by which connections are counted; it may have `most` at a time, by default a share of all.
    `failed` gets the socket back, with nothing more read from it, and the reason why no node answers.
    """

    connected: socket.socket
    peer: str
    data: bytes
    failed: Callable[[socket.socket, str], None]
    most: int = 0


def close_unheard(connected: socket.socket, _why: str) -> None:
    """A `Client.failed` that closes the connection: the client's protocol is unknown, so no error can be sent."""
    connected.close()


class Tunnels:
    """Used in the running event loop. Call `close` once."""

    def __init__(self, key: bytes, most: int) -> None:
        """`key` is the cluster's. At most `most` tunnels are open at a time."""
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
        """Connects the client to the node at `where`, trying for `away_s` seconds. Takes the client's socket over."""
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
        """The node is gone: resets the tunnels to it, so that their clients learn of it."""
        for copying, (to, _peer) in list(self._open.items()):
            if to == address:
                copying.abort()

    async def close(self, grace_s: float) -> None:
        """Opens no more tunnels. Those with a request in progress get `grace_s` seconds to end, then are reset."""
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
        """Raises `OSError` or `PlatformError` if no node answers; the client was then neither read nor sent to."""
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
                # Another node may have taken over meanwhile: look up the address again.
                if self._loop.time() + RETRIES_EVERY_S >= until:
                    raise
            await asyncio.sleep(RETRIES_EVERY_S)

    def _look(self) -> None:
        """Resets the tunnels to nodes that are gone."""
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
        """POLICY: as in `http.admission`: at a bound, the tunnels idle longest are closed for new ones."""
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
    """Whether the other machine has vanished, from the kernel's TCP state. False where that is not available."""
    if sys.platform != "linux":
        return False
    info = far.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO_BYTES)
    unacknowledged, last_ack_ms = (struct.unpack_from("=I", info, at)[0] for at in (_UNACKNOWLEDGED, _LAST_ACK_MS))
    return (unacknowledged > 0 or info[_PROBES] > 0) and last_ack_ms >= GONE_S * 1000
