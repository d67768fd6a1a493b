"""Connections that go from one process to another in the midst of a request, with what was read of it.

Made by `http.admission` for servers whose connections are movable; `agents` moves them. A request moves before any part
of its answer was sent; the client notices nothing.
"""

import asyncio
import os

import msgspec

from sesame.http.connection import Connection
from sesame.http.exchange import Exchange
from sesame.http.interface import Disconnected
from sesame.http.interface import Exchange as AnyExchange
from sesame.http.shared import Shared, Tracked

# What a client has not taken of the answers before is waited for in such steps.
LOOKS_EVERY_S = 0.002


class Arrived(msgspec.Struct, frozen=True):
    """What was read of a connection since its request began, and how often that request has moved.

    `proven`: its signature was checked before, and a nonce in it used.
    """

    data: bytes
    moves: int
    proven: bool = False


class Moved(msgspec.Struct, frozen=True):
    """A connection on its way: a descriptor of its socket, which is the caller's, and what was read of it."""

    fd: int
    arrived: Arrived


class MovableConnection(Connection):
    """Keeps what it reads of each request until the request is `settled` or answered."""

    def __init__(self, shared: Shared, opening: Tracked, *, refused: bool, arrived: Arrived | None = None) -> None:
        super().__init__(shared, opening, refused=refused)
        self._arrived = arrived
        self._raw: list[bytes] = []
        # How often the request under way has moved, and whether its signature was checked before.
        self.moves = 0
        self.proven = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        arrived, self._arrived = self._arrived, None
        if arrived is not None:
            # Before anything more is read of the socket.
            self._raw, self.moves, self.proven = [arrived.data], arrived.moves, arrived.proven
            super().data_received(arrived.data)

    def data_received(self, data: bytes) -> None:
        if self.idle:
            self._raw, self.moves, self.proven = [data], 0, False
        elif self._raw:
            self._raw.append(data)
        super().data_received(data)

    def answered(self, exchange: Exchange) -> None:
        # What follows in the same pieces is another request, whose beginning nobody knows.
        self._raw = []
        super().answered(exchange)

    def settle(self) -> None:
        """The request is answered here: what was read of it need not be kept."""
        self._raw = []

    def takes_websocket(self) -> bool:
        """Not for a request that is to move: it moves as any other, and becomes one elsewhere."""
        request = self._parser.request
        return super().takes_websocket() and request is not None and self._shared.keeps(request)

    async def move(self, exchange: Exchange, *, proven: bool) -> Moved | None:
        """Takes the connection away from this process. Nothing of the request may have been answered.

        None where that cannot be: the request came together with others, or there is no descriptor left; then the
        connection stays. Raises `Disconnected` when the client has gone.
        """
        if exchange.disconnected:
            raise Disconnected
        if not self._raw or exchange.begun or exchange is not self._running or self.refused:
            return None
        self.pause_reading()
        self._shared.batch.flush()
        await asyncio.sleep(0)
        while not self._lost and self.transport.get_write_buffer_size():  # noqa: ASYNC110
            # Answers to the requests before; nobody tells when the last byte has left.
            await asyncio.sleep(LOOKS_EVERY_S)
        if self._lost or exchange.disconnected:
            raise Disconnected
        try:
            fd = os.dup(self.transport.get_extra_info("socket").fileno())
        except OSError:
            self.resume_reading()
            return None
        moved = Moved(fd, Arrived(b"".join(self._raw), self.moves + 1, proven or self.proven))
        self._raw = []
        exchange.disconnected = True
        self.abort()
        return moved


def connection_of(exchange: AnyExchange) -> MovableConnection | None:
    """None for a connection that cannot move."""
    owner = exchange.owner if isinstance(exchange, Exchange) else None
    return owner if isinstance(owner, MovableConnection) else None


async def move(exchange: AnyExchange, *, proven: bool) -> Moved | None:
    """As `MovableConnection.move`; None also for a connection that cannot move."""
    connection = connection_of(exchange)
    if connection is None or not isinstance(exchange, Exchange):
        return None
    return await connection.move(exchange, proven=proven)


def is_proven(exchange: AnyExchange) -> bool:
    """Whether another process has checked the request's signature."""
    connection = connection_of(exchange)
    return connection is not None and connection.proven
