"""The state shared by all connections of one server: its endpoint, limits, clock, and the connections themselves.

Created by `http.server`; used by `http.connection` and `http.websocket`.
"""

import asyncio
import contextlib
import os
from collections.abc import Awaitable, Callable
from typing import Protocol

import msgspec
import structlog

from sesame.http.body_budget import BodyBudget
from sesame.http.framing import BROKEN
from sesame.http.interface import Answer, Endpoint, Refusal, WebSocket
from sesame.http.limits import Limits
from sesame.http.request import Addresses, Request
from sesame.http.turns import Turns
from sesame.http.unsent import Unsent
from sesame.model.clocks import Clocks, Timer
from sesame.write_batching import WriteBatch, shared

# Answers of more requests than this gain nothing from being batched.
TURNS_MAX = 16
# How many requests are started before answers are written and instances heard: as many as share a batch of writes.
STARTS_PER_TURN = TURNS_MAX

# Whether this process answers a websocket request itself.
Keeps = Callable[[Request], bool]

_batch = shared(TURNS_MAX)


class Tracked(Protocol):
    """A connection as its server sees it."""

    @property
    def peer(self) -> str:
        """The client's address, without its port."""

    @property
    def instance(self) -> str:
        """The instance's name, if the client is one; "" for a client from outside."""

    @property
    def refused(self) -> bool:
        """Whether the connection exceeds the limit, and only waits to be told so."""

    @property
    def waits_since(self) -> float | None:
        """Since when the server has waited for the client; None while the client waits for the server."""

    def tick(self, now: float, passed_s: float) -> None:
        """Closes the connection if a time limit has passed; called every `Limits.tick_s`."""

    def finish(self) -> None:
        """Makes the answer under way, or else the next one, the last."""

    def stop(self) -> None:
        """Closes the connection; a busy one after the answer under way."""

    def abort(self) -> None:
        """Closes the connection now."""


class Way(msgspec.Struct, frozen=True):
    """The path of a connection from another machine: client and server address there, and the number of machines."""

    client: tuple[str, int]
    server: tuple[str, int]
    machines: int


class Opening(Tracked, Protocol):
    """A connection without a protocol yet. With a `refusal`, its first request is answered with 503 and this text."""

    refusal: str
    way: Way | None


class Running(Protocol):
    """A request that is being answered."""

    task: asyncio.Task[None]


class Reserve:
    """A spare descriptor, released to accept and close one connection when no others are left."""

    def __init__(self) -> None:
        self._fd = -1
        self.hold()

    def hold(self) -> None:
        with contextlib.suppress(OSError):
            self._fd = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)

    def give_up(self) -> None:
        """Idempotent."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)


class Shared:
    def __init__(
        self,
        endpoint: Endpoint,
        limits: Limits,
        clocks: Clocks,
        *,
        tls: bool,
        own: tuple[str, int] = ("", 0),
        keeps: Keeps | None = None,
    ) -> None:
        """`own` is the server's address, used as both ends of connections without addresses.

        With `keeps`, other processes may take connections over (`http.moving`).
        """
        self.endpoint = endpoint
        self.movable = keeps is not None
        self.keeps: Keeps = keeps or (lambda _request: True)
        self.limits = limits
        self.clocks, self.clock = clocks, clocks.monotonic
        self.scheme = "https" if tls else "http"
        self._own = own
        self.loop = asyncio.get_running_loop()
        self.batch: WriteBatch = _batch()
        self.budget = BodyBudget(limits.bodies_bytes)
        self.unsent = Unsent(limits.unsent_bytes)
        self.serve_websocket: Callable[[WebSocket], Awaitable[None]] | None = getattr(endpoint, "serve_websocket", None)
        self.log = structlog.get_logger("sesame.http")
        # Updated at every tick and for the first connection: precise enough for limits of seconds, and free for a
        # request.
        self.now = self.clock()
        self.connections: dict[Tracked, None] = {}
        self.per_peer: dict[str, int] = {}
        self.refused = 0
        self.reserve = Reserve()
        self.running: set[Running] = set()
        self.turns = Turns(self.loop, STARTS_PER_TURN, self.running)
        # Set at each end while `quiet` waits.
        self._changed: asyncio.Event | None = None
        self._timer: Timer | None = None

    def refuse(self, refusal: Refusal) -> Answer:
        """Formats a refusal by the endpoint; a plain 500 if the endpoint fails to."""
        try:
            return self.endpoint.refuse(refusal)
        except Exception:
            self.log.exception("an endpoint could not refuse a request", reason=refusal.reason.name)
            return BROKEN

    def addresses_of(self, transport: asyncio.Transport, way: Way | None) -> Addresses:
        if way is not None:
            return self.scheme, way.client, way.server
        client = _address(transport, "peername") or (self._own[0], 0)
        return self.scheme, client, _address(transport, "sockname") or self._own

    def enter(self, connection: Tracked, *, instead_of: Tracked | None = None) -> None:
        """Registers a connection, or its next stage instead of the previous one."""
        if instead_of is not None:
            self.leave(instead_of)
        self.connections[connection] = None
        self.per_peer[connection.peer] = self.per_peer.get(connection.peer, 0) + 1
        self.refused += connection.refused
        if self._timer is None:
            self.now = self.clock()
            self._timer = self.clocks.call_later(self.limits.tick_s, self._tick)

    def leave(self, connection: Tracked) -> None:
        """Idempotent."""
        if connection not in self.connections:
            return
        del self.connections[connection]
        self.refused -= connection.refused
        left = self.per_peer[connection.peer] - 1
        if left:
            self.per_peer[connection.peer] = left
        else:
            del self.per_peer[connection.peer]
        if self._changed is not None:
            self._changed.set()

    def ended(self, running: Running) -> None:
        self.running.discard(running)
        if self._changed is not None:
            self._changed.set()

    def tick(self) -> None:
        """Makes every connection check its limits."""
        before, self.now = self.now, self.clock()
        for connection in list(self.connections):
            connection.tick(self.now, self.now - before)

    def _tick(self) -> None:
        self._timer = None
        try:
            self.tick()
        finally:
            if self.connections:
                self._timer = self.clocks.call_later(self.limits.tick_s, self._tick)

    async def quiet(self) -> None:
        """Returns when no connection and no request is left."""
        if self._changed is None:
            self._changed = asyncio.Event()
        while self.connections or self.running:
            self._changed.clear()
            await self._changed.wait()


def _address(transport: asyncio.Transport, what: str) -> tuple[str, int] | None:
    address = transport.get_extra_info(what)
    return (str(address[0]), int(address[1])) if isinstance(address, tuple) else None
