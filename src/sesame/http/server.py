"""One listening socket and its connections, from `start` to `stop`, on the running event loop.

Built by `app`, once per endpoint. Never handles signals, and never chooses an answer's content.
"""

import asyncio
import contextlib
import os
import select
import socket
import ssl
from collections import deque
from collections.abc import Callable, Iterable

import structlog

from sesame.http.admission import Admission
from sesame.http.handover import AT_ONCE, Handed, hand_over
from sesame.http.interface import Endpoint
from sesame.http.limits import Limits
from sesame.http.listener import Listener, Peer, listening_socket, units_of
from sesame.http.moving import Arrived
from sesame.http.shared import Keeps, Shared, Way
from sesame.http.slow_start import slow_start
from sesame.http.tls import NamedHandshakes, NamedTls
from sesame.model.clocks import SYSTEM_CLOCKS, Clocks
from sesame.model.fair_rate import FairRate
from sesame.model.host_and_port import text_of

LAST_REQUEST_S = 1.0

log = structlog.get_logger("sesame.http")


class HttpServer:
    """Call `start` before the first request and `stop` after the last, once each."""

    def __init__(
        self,
        endpoint: Endpoint,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        tls: ssl.SSLContext | NamedTls | None = None,
        limits: Limits | None = None,
        clocks: Clocks = SYSTEM_CLOCKS,
        arrivals: FairRate | None = None,
        keeps: Keeps | None = None,
    ) -> None:
        """`arrivals` limits the rate of connections of each `peer` passed to `serve`.

        With `keeps`, other processes accept from the same socket, and connections move between them (`http.moving`).
        """
        self._endpoint = endpoint
        self._tls = tls if tls is None or isinstance(tls, ssl.SSLContext) else NamedHandshakes(tls)
        self._limits = limits or Limits()
        self._clocks = clocks
        self._arrivals = arrivals
        self._keeps = keeps
        self.host = host
        self.port = port
        self._shared: Shared | None = None
        # The timeout of a `stop` that waits for requests.
        self._grace: asyncio.Timeout | None = None
        self._hurried = False
        self._listeners: set[Listener] = set()
        self._listener: Listener | None = None
        # Connections of the predecessor that have not been taken over yet.
        self._waiting: deque[socket.socket] = deque()
        self._others: Admission | None = None
        self._catching_up: asyncio.Task[None] | None = None

    @property
    def url(self) -> str:
        return f"{'https' if self._tls else 'http'}://{text_of(self.host, self.port)}"

    @property
    def local_url(self) -> str:
        """The URL for this machine, with loopback in place of a wildcard address."""
        return self.url.replace("//0.0.0.0:", "//127.0.0.1:").replace("//[::]:", "//[::1]:")

    @property
    def connections(self) -> int:
        return 0 if self._shared is None else len(self._shared.connections)

    @property
    def body_bytes_left(self) -> int:
        """How much of the memory for bodies is left."""
        return self._limits.bodies_bytes if self._shared is None else self._shared.budget.left_bytes

    async def start(self, handed: Handed | None = None) -> None:
        """Listens; `port` is then the actual port. Raises `ConfigurationError` if the address cannot be bound.

        With `handed`, takes over what another server has passed on.
        """
        listening = listening_socket(self.host, self.port) if handed is None else socket.socket(fileno=handed.listening)
        self.port = listening.getsockname()[1]
        self.open()
        self._listener = self._listener_of(listening)
        if handed is None:
            self._listener.start()
        else:
            self._waiting.extend(socket.socket(fileno=fd) for fd in handed.connections)
            self._catching_up = asyncio.create_task(self._catch_up(handed.running))

    def open(self) -> None:
        """Replaces `start` for a server that only has the sockets passed to `serve`."""
        own = (self.host, self.port)
        self._shared = Shared(
            self._endpoint, self._limits, self._clocks, tls=self._tls is not None, own=own, keeps=self._keeps
        )
        self._others = Admission(self._shared, self._tls)

    def serve(self, listening: socket.socket, peer: str = "") -> Callable[[], None]:
        """Serves another socket as well; call the returned function to stop. `peer` is as in `Listener`."""
        listener = self._listener_of(listening, peer)
        listener.start()

        def end() -> None:
            self._listeners.discard(listener)
            listener.close()

        return end

    def _listener_of(self, listening: socket.socket, peer: str = "") -> Listener:
        assert self._shared is not None, "the server has not started"
        share = self._arrivals.of(peer) if self._arrivals is not None and peer else None
        listener = Listener(listening, self._shared, self._tls, Peer(peer, share))
        self._listeners.add(listener)
        return listener

    async def _catch_up(self, ran_before: int) -> None:
        """Takes over the predecessor's connections, then accepts those that have arrived since it stopped."""
        assert self._listener is not None
        try:
            await self._take_over(ran_before)
        except Exception:
            log.exception("connections of the server before could not be taken over; those that are left are closed")
            for fd in self._waiting_left():
                os.close(fd)
        self._listener.start()

    async def _take_over(self, ran_before: int) -> None:
        assert self._shared is not None
        asking = _readable(self._waiting)
        silent = set(self._waiting).difference(asking)
        self._waiting = deque([*silent, *asking])
        for number in range(1, len(silent) + 1):
            self.go_on_with(self._waiting.popleft())
            if number % AT_ONCE == 0:
                await asyncio.sleep(0)
        await slow_start(self._shared, ran_before, self._take_one)

    def _take_one(self) -> bool:
        if not self._waiting:
            return self._listener is not None and self._listener.accept(1)
        self.go_on_with(self._waiting.popleft())
        return True

    def go_on_with(self, connected: socket.socket) -> None:
        """Takes over an idle connection of another server, on a non-blocking socket."""
        assert self._others is not None, "the server has not started"
        try:
            address = connected.getpeername()[0]
        except OSError:
            # The client has left.
            connected.close()
            return
        self._others.admit(connected, str(address), "")

    def _catch_up_no_more(self) -> tuple[int, ...]:
        """Stops taking over. Returns the descriptors of the connections that are left."""
        if self._catching_up is not None:
            self._catching_up.cancel()
        return self._waiting_left()

    def _waiting_left(self) -> tuple[int, ...]:
        left = tuple(each.detach() for each in self._waiting)
        self._waiting.clear()
        return left

    def take(self, connected: socket.socket, peer: str) -> None:
        """Serves a connection created by another part of Sesame, as if it came from `peer`. Raises `OSError`.

        Both of its ends have the server's address, as in the instance's network.
        """
        assert self._shared is not None, "the server has not started"
        if self._arrivals is not None and peer:
            # The creator of the connection was charged for its own part; charge this server's part.
            self._arrivals.of(peer).charge(units_of(self._tls))
        connected.setblocking(False)
        way = Way((self.host, 0), (self.host, self.port), 0)
        # `stop` aborts its handshake together with the connections.
        Admission(self._shared, self._tls).admit(connected, "", peer, Arrived(b"", 0, way=way))

    def adopt(self, connected: socket.socket, arrived: Arrived) -> None:
        """Continues a connection of another process, in the middle of a request. Closes the socket on failure."""
        try:
            address = arrived.way.client[0] if arrived.way is not None else str(connected.getpeername()[0])
        except OSError:
            # The client has left.
            connected.close()
            return
        if self._others is None:
            connected.close()
            return
        connected.setblocking(False)
        self._others.admit(connected, address, "", arrived)

    def tick(self) -> None:
        """Makes every connection check its time limits; a timer also does so every `Limits.tick_s`."""
        if self._shared is not None:
            self._shared.tick()

    async def hand_over(self, name: str) -> Handed:
        """Passes the listening socket and the idle connections to another server. Call it before `stop`, after `start`.

        Nothing is accepted from now on, and each remaining connection gets one last answer. A connection without a
        running request has `LAST_REQUEST_S` to send one: it uses TLS, or its client is in the middle of a head.
        """
        shared = self._shared
        assert shared is not None, "the server has not started"
        assert self._listener is not None, "the server has only the sockets that it was given"
        assert self._others is not None
        waiting, running = self._catch_up_no_more(), len(shared.running)
        listening = await self._listener.hand_over(LAST_REQUEST_S)
        await self._others.opened(LAST_REQUEST_S)
        shared.batch.flush()
        left = await hand_over(shared.connections)
        for connection in list(shared.connections):
            connection.finish()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LAST_REQUEST_S):
                await shared.quiet()
        # Their last answers were sent before they could announce to be the last.
        left += await hand_over(shared.connections)
        return Handed(name, listening, (*waiting, *left), running)

    async def stop(self, grace_s: float) -> None:
        """Accepts no more connections; running requests get `grace_s` seconds to end, and are then cancelled.

        On return no request is running, unless one has ignored its cancellation for `Limits.cancelled_s`.
        """
        shared = self._shared
        if shared is None:
            return
        for fd in self._catch_up_no_more():
            os.close(fd)
        for listener in self._listeners:
            listener.close()
        shared.reserve.give_up()
        for connection in list(shared.connections):
            connection.stop()
        try:
            async with asyncio.timeout(0.0 if self._hurried else grace_s) as self._grace:
                await shared.quiet()
            return
        except TimeoutError:
            pass
        finally:
            self._grace = None
        shared.turns.give_up()
        tasks = {running.task for running in shared.running}
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=self._limits.cancelled_s)
        # Let one turn pass, so that the answers of cancelled requests are sent.
        shared.batch.flush()
        await asyncio.sleep(0)
        for connection in list(shared.connections):
            connection.abort()

    async def stop_again(self, grace_s: float) -> None:
        """The same for what was adopted since `stop`: a connection without a request has `LAST_REQUEST_S` for it.

        Nothing is to be adopted any more.
        """
        if self._shared is None:
            return
        for connection in list(self._shared.connections):
            connection.finish()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LAST_REQUEST_S):
                await self._shared.quiet()
        await self.stop(grace_s)

    def hurry(self) -> None:
        """Ends the grace of a `stop` under way, which cancels running requests now, and gives later ones none."""
        self._hurried = True
        if self._grace is not None and not self._grace.expired():
            self._grace.reschedule(asyncio.get_running_loop().time())


def _readable(sockets: Iterable[socket.socket]) -> list[socket.socket]:
    poll, by_fd = select.poll(), {each.fileno(): each for each in sockets}
    for fd in by_fd:
        poll.register(fd, select.POLLIN)
    return [by_fd[fd] for fd, _events in poll.poll(0)]
