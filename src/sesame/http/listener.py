"""Accepts connections, up to a bound for the server and for each client address.

Made by `http.server`. A failing `accept` never ends it: it pauses, and goes on when there are descriptors again.
"""

import asyncio
import contextlib
import errno
import heapq
import socket
import ssl
from collections.abc import Callable
from typing import NamedTuple

import structlog

from sesame.http.connection import Connection
from sesame.http.shared import Shared
from sesame.http.tls import NamedHandshakes
from sesame.model.clocks import Timer
from sesame.model.errors import ConfigurationError
from sesame.model.fair_rate import Share
from sesame.model.fair_share import may_have

BACKLOG = 2048
# Connections accepted before the event loop turns to other work.
ACCEPTED_AT_ONCE = 64
PAUSE_S = 0.2
# A handshake takes 0.8 ms of the event loop, as long as so many connections without one (`fair_rate`).
HANDSHAKE_UNITS = 8.0
LOG_EVERY_S = 10.0
# When a bound is reached, this share of the connections that wait for their clients is closed, at least one.
EVICTED_SHARE = 1 / 16
_OUT_OF_RESOURCES = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})

log = structlog.get_logger("sesame.http")


def listening_socket(host: str, port: int) -> socket.socket:
    """Raises `ConfigurationError` when the address cannot be had."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, kind, proto, _name, address = found[0]
        listener = socket.socket(family, kind, proto)
    except OSError as error:
        raise ConfigurationError(f"cannot listen on {host}: {error}; choose another address") from error
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(BACKLOG)
        listener.setblocking(False)
        listener.set_inheritable(False)
    except OSError as error:
        listener.close()
        raise ConfigurationError(
            f"cannot listen on {host}:{port}: {error.strerror or error}; stop what uses the port, or choose another "
            "(0 takes any free one)"
        ) from error
    return listener


class Peer(NamedTuple):
    """With a name, all that come to a socket are one client, whatever their addresses; `share` bounds their rate."""

    name: str = ""
    share: Share | None = None


class Listener:
    """POLICY: at a bound, the connections whose clients have been silent longest make place for the new one.

    All functions on this machine and its operator have one address: a function that opens connections and says
    nothing must not lock the operator out. Where every connection is busy, the new one is told to try again later.
    Instances with networks of their own leave each other room (`model.fair_share`).
    """

    def __init__(
        self, listening: socket.socket, shared: Shared, tls: ssl.SSLContext | NamedHandshakes | None, peer: Peer
    ) -> None:
        self._peer = peer.name
        self._share = peer.share
        self._units = HANDSHAKE_UNITS if tls is not None else 1.0
        self._wait_no_longer: Callable[[], None] | None = None
        self._socket = listening
        self._shared = shared
        self._tls = tls
        self._opening: set[asyncio.Task[None]] = set()
        self._paused: Timer | None = None
        self._logged_at = -LOG_EVERY_S

    def start(self) -> None:
        self._shared.loop.add_reader(self._socket.fileno(), self._accept)

    def close(self) -> None:
        """Idempotent. Handshakes under way are broken off."""
        if self._paused is not None:
            self._paused.cancel()
        if self._wait_no_longer is not None:
            self._wait_no_longer()
        if self._socket.fileno() >= 0:
            self._shared.loop.remove_reader(self._socket.fileno())
            self._socket.close()
        for task in self._opening:
            task.cancel()

    def _accept(self) -> None:
        share = self._share
        for _ in range(ACCEPTED_AT_ONCE):
            if share is not None and not share.allows():
                self._shared.loop.remove_reader(self._socket.fileno())
                self._wait_no_longer = share.wait(self.start)
                return
            try:
                accepted, address = self._socket.accept()
            except ConnectionAbortedError:
                continue
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:
                self._pause(error)
                return
            if share is not None:
                share.charge(self._units)
            try:
                accepted.setblocking(False)
                accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._admit(accepted, self._peer or str(address[0]))
            except OSError:
                # The client has gone already.
                accepted.close()

    def _admit(self, accepted: socket.socket, peer: str) -> None:
        shared, limits = self._shared, self._shared.limits
        refused = False
        of_peer = shared.per_peer.get(peer, 0)
        if of_peer >= limits.connections_per_peer:
            refused = not self._evict(peer, limits.connections_per_peer)
        elif self._peer and not may_have(of_peer, limits.connections - len(shared.connections) + shared.refused):
            refused = not self._evict(peer, of_peer)
        elif len(shared.connections) >= limits.connections:
            refused = not self._evict(None, limits.connections)
        if refused and shared.refused >= limits.refused_connections:
            accepted.close()
            return
        opening = _Opening(shared, peer, self._peer, refused=refused)
        opening.task = shared.loop.create_task(self._open(accepted, opening))
        self._opening.add(opening.task)
        opening.task.add_done_callback(lambda task: self._opened(task, accepted))
        shared.enter(opening)

    def _opened(self, task: asyncio.Task[None], accepted: socket.socket) -> None:
        self._opening.discard(task)
        if task.cancelled():
            # Cancelled before its first step, it never ran: closed here, as else the descriptor stays until memory is
            # searched for what nobody uses.
            accepted.close()

    async def _open(self, accepted: socket.socket, opening: "_Opening") -> None:
        """Has the event loop take the socket over, after the handshake of TLS."""
        shared = self._shared
        connection = Connection(shared, opening, refused=opening.refused)
        handshake_s = None if self._tls is None else shared.limits.tls_handshake_s
        try:
            tls = self._tls
            if isinstance(tls, NamedHandshakes):
                async with asyncio.timeout(handshake_s):
                    tls = await tls.context(accepted, opening.peer)
            await shared.loop.connect_accepted_socket(
                lambda: connection, accepted, ssl=tls, ssl_handshake_timeout=handshake_s
            )
        except (OSError, asyncio.CancelledError):
            # The client left or its handshake failed, or this side broke it off: there is no connection to answer on.
            accepted.close()
        finally:
            shared.leave(opening)

    def _evict(self, peer: str | None, bound: int) -> bool:
        """Closes what has been silent longest, of this peer or of all; False where no connection is silent."""
        silent = [
            (since, number, connection)
            for number, connection in enumerate(self._shared.connections)
            if (peer is None or connection.peer == peer) and (since := connection.waits_since) is not None
        ]
        for _since, _number, connection in heapq.nsmallest(max(int(bound * EVICTED_SHARE), 1), silent):
            connection.abort()
        return bool(silent)

    def _pause(self, error: OSError) -> None:
        """Without descriptors: closes one waiting connection unheard, makes place, and tries again shortly."""
        shared = self._shared
        now = shared.clock()
        if now - self._logged_at >= LOG_EVERY_S:
            self._logged_at = now
            log.error("connections cannot be accepted; trying again", error=str(error), open=len(shared.connections))
        if error.errno in _OUT_OF_RESOURCES:
            self._evict(None, shared.limits.connections)
            shared.reserve.give_up()
            with contextlib.suppress(OSError):
                self._socket.accept()[0].close()
            shared.reserve.hold()
        shared.loop.remove_reader(self._socket.fileno())
        self._paused = shared.clocks.call_later(PAUSE_S, self._resume)

    def _resume(self) -> None:
        self._paused = None
        self.start()


class _Opening:
    """A connection between `accept` and the end of its handshake."""

    task: asyncio.Task[None]

    def __init__(self, shared: Shared, peer: str, instance: str, *, refused: bool) -> None:
        self._shared = shared
        self.peer = peer
        self.instance = instance
        self.refused = refused
        self.waits_since: float | None = shared.now

    def tick(self, now: float, passed_s: float) -> None:
        """The event loop limits the time of a handshake."""

    def stop(self) -> None:
        self.abort()

    def abort(self) -> None:
        self._shared.leave(self)
        self.task.cancel()
