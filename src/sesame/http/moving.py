"""Connections that move from one process to another in the middle of a request, with what has been read of it.

Created by `http.admission` for servers with movable connections; `agents` moves them. A request moves before any part
of its answer is sent, so the client notices nothing.
"""

import asyncio
import os
import socket
from collections import deque
from collections.abc import Callable

import msgspec

from sesame.http.connection import Connection
from sesame.http.exchange import Exchange
from sesame.http.interface import Disconnected
from sesame.http.interface import Exchange as AnyExchange
from sesame.http.parsing import BETWEEN, BODY
from sesame.http.request import Request
from sesame.http.shared import Opening, Shared, Way

# How often to check whether the client has read the earlier answers.
LOOKS_EVERY_S = 0.002
EMPTY_LINE = b"\r\n\r\n"
TAIL_BYTES = len(EMPTY_LINE) - 1
# POLICY: a connection that has come through this many machines closes after its next answer. Otherwise, if its requests
# alternate between machines, it would pass through ever more of them.
MACHINES_MAX = 2


class Arrived(msgspec.Struct, frozen=True):
    """What has been read of a connection since its request began, and how often that request has moved.

    `proven`: its signature was verified, and its nonce recorded. `way` is set if the connection came from another
    machine, `refusal` if no agent can serve the request; it states why. `drawn` is the version drawn for the request,
    or "".
    """

    data: bytes
    moves: int
    proven: bool = False
    way: Way | None = None
    refusal: str = ""
    drawn: str = ""


class Moved(msgspec.Struct, frozen=True):
    """A connection in transit: a descriptor of its socket, owned by the caller, and what has been read of it."""

    fd: int
    arrived: Arrived


class _Kept:
    """What has been read of one request; `pieces` is None if it was not kept or is not known."""

    __slots__ = ("answered", "pieces")

    def __init__(self, pieces: list[bytes] | None) -> None:
        self.pieces = pieces
        self.answered = False


class MovableConnection(Connection):
    """Keeps what it reads of each request until the request is `settle`d or answered."""

    def __init__(self, shared: Shared, opening: Opening, *, arrived: Arrived | None = None) -> None:
        super().__init__(shared, opening)
        self._way = opening.way
        self._arrived = arrived
        # For the request to be answered next, for those received after it, and for the one being read.
        self._kept = deque((_Kept([]),))
        # Whether a request has ended within the data being fed.
        self._ended = False
        # The last bytes of the request being read, which may be the start of an empty line.
        self._tail = b""
        # For the current request, `moves` counts its moves, `proven` tells whether its signature has been verified, and
        # `drawn` is the version drawn for it.

    @property
    def from_elsewhere(self) -> bool:
        """Whether its client is connected to another machine."""
        return self._way is not None and self._way.machines > 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        arrived, self._arrived = self._arrived, None
        if arrived is not None:
            # Handle this before anything more is read from the socket.
            self.moves, self.proven, self.drawn = arrived.moves, arrived.proven, arrived.drawn
            if arrived.data:
                super().data_received(arrived.data)

    def data_received(self, data: bytes) -> None:
        if self._known is not None and self._parser.phase is BETWEEN and self._known.body_of(data) is not None:
            # A complete request, which is not fed to the parser.
            self._keep(data)
            self._next()
        super().data_received(data)

    def _part_ends(self, data: bytes, at: int, end: int) -> int:
        """Ends parts at request boundaries, so that no part belongs to two requests, as the second may have to move."""
        parser = self._parser
        if parser.phase is BODY and parser.body_left is not None:
            return min(end, at + parser.body_left) if parser.body_left else end
        # Heads, and chunked bodies as well, end with an empty line.
        before = self._tail
        found = (before + data[at:end]).find(EMPTY_LINE)
        return end if found < 0 else at + found + len(EMPTY_LINE) - len(before)

    def _feed(self, data: bytes, at: int, end: int) -> tuple[int, bytes | None]:
        end = self._part_ends(data, at, end)
        self._keep(data[at:end])
        fed = super()._feed(data, at, end)
        if self._ended:
            self._next()
        return fed

    def head_begins(self) -> None:
        if self._ended:
            # A request began within a part, as after unusual line ends: its start is unknown.
            self._next()
            self._kept[-1].pieces = None
        super().head_begins()

    def request_begins(self, request: Request, *, keep_alive: bool, expects_continue: bool) -> None:
        goes_on = keep_alive and (self._way is None or self._way.machines < MACHINES_MAX)
        super().request_begins(request, keep_alive=goes_on, expects_continue=expects_continue)

    def request_ends(self) -> None:
        self._ended = True
        super().request_ends()

    def _keep(self, part: bytes) -> None:
        self._tail = part[-TAIL_BYTES:] if len(part) >= TAIL_BYTES else (self._tail + part)[-TAIL_BYTES:]
        if (pieces := self._kept[-1].pieces) is not None:
            pieces.append(part)

    def _next(self) -> None:
        """What is read from now on belongs to another request."""
        self._ended, self._tail = False, b""
        if self._kept[-1].answered:
            self._kept.pop()
        self._kept.append(_Kept([]))

    def answered(self, exchange: Exchange) -> None:
        if self._running is exchange:
            self.moves, self.proven, self.drawn = 0, False, ""
            if len(self._kept) > 1:
                self._kept.popleft()
            else:
                # The rest of its body may still arrive.
                self._kept[0].pieces, self._kept[0].answered = None, True
        super().answered(exchange)

    def settle(self) -> None:
        """The request is answered here: stops keeping what was read of it."""
        self._kept[0].pieces = None

    def takes_websocket(self) -> bool:
        """False for a request that may have to move: it moves first, and becomes a websocket at its destination."""
        request = self._parser.request
        return super().takes_websocket() and request is not None and (self.proven or self._shared.keeps(request))

    async def move(self, exchange: Exchange, *, proven: bool) -> Moved | None:
        """Takes the connection away from this process. No part of the request may have been answered.

        Returns None, leaving the connection here, if the start of the request is unknown or no descriptor is left.
        Raises `Disconnected` if the client has disconnected.
        """
        if exchange.disconnected:
            raise Disconnected
        if exchange.begun or exchange is not self._running or self.refused or self._read() is None:
            return None
        self.pause_reading()
        self._shared.batch.flush()
        await asyncio.sleep(0)
        while not self._lost and self.transport.get_write_buffer_size():  # noqa: ASYNC110
            # Wait for the answers to earlier requests; no callback reports that the last byte was sent.
            await asyncio.sleep(LOOKS_EVERY_S)
        if self._lost or exchange.disconnected:
            raise Disconnected
        try:
            fd = os.dup(self.transport.get_extra_info("socket").fileno())
        except OSError:
            self.resume_reading()
            return None
        data = self._read()
        assert data is not None
        moved = Moved(fd, Arrived(data, self.moves + 1, proven or self.proven, self._way, drawn=self.drawn))
        self._kept = deque((_Kept(None),))
        exchange.disconnected = True
        self.abort()
        return moved

    @property
    def kept_bytes(self) -> int:
        return sum(len(piece) for each in self._kept for piece in each.pieces or ())

    def _read(self) -> bytes | None:
        """All bytes since the start of the request that is answered next; None if they are not known."""
        pieces: list[bytes] = []
        for each in self._kept:
            if each.pieces is None:
                return None
            pieces += each.pieces
        return b"".join((*pieces, self._unparsed))


def connection_of(exchange: AnyExchange) -> MovableConnection | None:
    """None for a connection that cannot move."""
    owner = exchange.owner if isinstance(exchange, Exchange) else None
    return owner if isinstance(owner, MovableConnection) else None


async def move(exchange: AnyExchange, *, proven: bool) -> Moved | None:
    """See `MovableConnection.move`; also returns None for a connection that cannot move."""
    connection = connection_of(exchange)
    if connection is None or not isinstance(exchange, Exchange):
        return None
    return await connection.move(exchange, proven=proven)


async def comes_anew(exchange: AnyExchange, adopt: Callable[[socket.socket, Arrived], None]) -> bool:
    """Replays a websocket request on this server, so that it becomes a websocket. False if it cannot move."""
    if (moved := await move(exchange, proven=True)) is None:
        return False
    adopt(socket.socket(fileno=moved.fd), msgspec.structs.replace(moved.arrived, moves=moved.arrived.moves - 1))
    return True


def settle(exchange: AnyExchange) -> None:
    """Stops keeping what was read of the request, as it is answered here. No effect if the connection cannot move."""
    connection = connection_of(exchange)
    if connection is not None:
        connection.settle()


def is_proven(exchange: AnyExchange) -> bool:
    """Whether another process has verified the request's signature."""
    connection = connection_of(exchange)
    return connection is not None and connection.proven
