"""Admits accepted connections, up to a bound for the server and for each client address.

Used by `http.listener`, and by `http.server` for connections created within this process.
"""

import asyncio
import heapq
import socket
import ssl

from sesame.http.connection import Connection
from sesame.http.moving import Arrived, MovableConnection
from sesame.http.shared import Shared, Way
from sesame.http.tls import NamedHandshakes
from sesame.model.fair_share import may_have

TOO_MANY = "the server has as many connections as it takes; try again later"
# When a bound is reached, this share of the connections that wait for their clients is closed, but at least one.
EVICTED_SHARE = 1 / 16


class Admission:
    """POLICY: at a bound, the connections whose clients have been silent longest make room for the new one.

    All functions on this machine and its operator share one address: a function that opens connections and stays silent
    must not lock the operator out. If every connection is busy, the new client is told to try again later. Instances
    with their own networks leave room for each other (`model.fair_share`).
    """

    def __init__(self, shared: Shared, tls: ssl.SSLContext | NamedHandshakes | None) -> None:
        self._shared = shared
        self._tls = tls
        self._opening: set[asyncio.Task[None]] = set()

    def close(self) -> None:
        """Aborts handshakes under way."""
        for task in self._opening:
            task.cancel()

    async def opened(self, within_s: float) -> None:
        """Returns when all handshakes under way have ended, or after `within_s` seconds."""
        if self._opening:
            await asyncio.wait(self._opening, timeout=within_s)

    def admit(self, accepted: socket.socket, address: str, instance: str, arrived: Arrived | None = None) -> None:
        """Takes over the non-blocking socket of a client's connection from this address.

        All connections of an `instance` count as one client of that name, whatever their addresses; "" for other
        clients. `arrived` is set if another process has already read part of its request.
        """
        shared = self._shared
        peer, refusal = instance or address, "" if arrived is None else arrived.refusal
        if not refusal and not self._has_place(peer, instance):
            refusal = TOO_MANY
        if refusal and shared.refused >= shared.limits.refused_connections:
            accepted.close()
            return
        opening = _Opening(shared, peer, instance, refusal, None if arrived is None else arrived.way)
        opening.task = shared.loop.create_task(self._open(accepted, opening, arrived))
        self._opening.add(opening.task)
        opening.task.add_done_callback(lambda task: self._opened(task, accepted))
        shared.enter(opening)

    def _has_place(self, peer: str, instance: str) -> bool:
        shared, limits = self._shared, self._shared.limits
        of_peer = shared.per_peer.get(peer, 0)
        free = limits.connections - len(shared.connections) + shared.refused
        if of_peer >= limits.connections_per_peer:
            return self.evict(peer, limits.connections_per_peer)
        if instance and of_peer and not may_have(of_peer, free):
            return self.evict(peer, of_peer)
        return len(shared.connections) < limits.connections or self.evict(None, limits.connections)

    def _opened(self, task: asyncio.Task[None], accepted: socket.socket) -> None:
        self._opening.discard(task)
        if task.cancelled():
            # The task was cancelled before its first step, so it never ran: close the socket here instead of leaving
            # the descriptor to the garbage collector.
            accepted.close()

    async def _open(self, accepted: socket.socket, opening: "_Opening", arrived: Arrived | None) -> None:
        """Hands the socket to the event loop, after the TLS handshake, if any."""
        shared = self._shared
        if shared.movable and self._tls is None and not opening.instance:
            connection: Connection = MovableConnection(shared, opening, arrived=arrived)
        else:
            connection = Connection(shared, opening)
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
            # The client left, its handshake failed, or this side aborted it: there is no connection to answer on.
            accepted.close()
        finally:
            shared.leave(opening)

    def evict(self, peer: str | None, bound: int) -> bool:
        """Closes the connections of this peer, or of all, that have been silent longest. False if none is silent."""
        silent = [
            (since, number, connection)
            for number, connection in enumerate(self._shared.connections)
            if (peer is None or connection.peer == peer) and (since := connection.waits_since) is not None
        ]
        for _since, _number, connection in heapq.nsmallest(max(int(bound * EVICTED_SHARE), 1), silent):
            connection.abort()
        return bool(silent)


class _Opening:
    """A connection between `accept` and the end of its handshake."""

    task: asyncio.Task[None]

    def __init__(self, shared: Shared, peer: str, instance: str, refusal: str, way: Way | None) -> None:
        self._shared = shared
        self.peer = peer
        self.instance = instance
        self.refused, self.refusal = refusal != "", refusal
        self.way = way
        self.waits_since: float | None = shared.now

    def tick(self, now: float, passed_s: float) -> None:
        """Does nothing: the event loop limits the duration of a handshake."""

    def finish(self) -> None:
        """Does nothing: there is no request yet."""

    def stop(self) -> None:
        self.abort()

    def abort(self) -> None:
        self._shared.leave(self)
        self.task.cancel()
