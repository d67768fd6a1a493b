"""One listening socket and its connections, from `start` to `stop`, on the event loop that is running.

Built by `app`, once for each endpoint. Never handles signals, and never decides what an answer says.
"""

import asyncio
import contextlib
import os
import select
import socket
import ssl
from collections import deque
from collections.abc import Callable, Iterable

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


class HttpServer:
    """`start` before the first request, `stop` after the last; both once."""

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
        """`arrivals` bounds how many connections of each `peer` that `serve` is given are taken a second.

        With `keeps`, other processes accept from the same socket, and connections go from one to another
        (`http.moving`).
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
        # Of a `stop` that waits for requests.
        self._grace: asyncio.Timeout | None = None
        self._listeners: set[Listener] = set()
        self._listener: Listener | None = None
        # Connections of the server before, on which a request waits.
        self._waiting: deque[socket.socket] = deque()
        self._others: Admission | None = None
        self._catching_up: asyncio.Task[None] | None = None

    @property
    def url(self) -> str:
        return f"{'https' if self._tls else 'http'}://{text_of(self.host, self.port)}"

    @property
    def local_url(self) -> str:
        """Where this machine reaches it: every address stands for one of them."""
        return self.url.replace("//0.0.0.0:", "//127.0.0.1:").replace("//[::]:", "//[::1]:")

    @property
    def connections(self) -> int:
        return 0 if self._shared is None else len(self._shared.connections)

    @property
    def body_bytes_left(self) -> int:
        """What is left of the memory for bodies."""
        return self._limits.bodies_bytes if self._shared is None else self._shared.budget.left_bytes

    async def start(self, handed: Handed | None = None) -> None:
        """Listens; `port` is the real one from here on. Raises `ConfigurationError` when the address cannot be had.

        With `handed`, goes on with what another server has left.
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
        """In place of `start`, for a server that has only the sockets that `serve` is given."""
        own = (self.host, self.port)
        self._shared = Shared(
            self._endpoint, self._limits, self._clocks, tls=self._tls is not None, own=own, keeps=self._keeps
        )
        self._others = Admission(self._shared, self._tls)

    def serve(self, listening: socket.socket, peer: str = "") -> Callable[[], None]:
        """Answers on another socket too; the call returned ends that. `peer` as `Listener`."""
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
        """Goes on with the connections of the server before, then with those that have come since it stopped."""
        assert self._shared is not None
        assert self._listener is not None
        asking = _readable(self._waiting)
        silent = set(self._waiting).difference(asking)
        self._waiting = deque([*silent, *asking])
        for number in range(1, len(silent) + 1):
            self.go_on_with(self._waiting.popleft())
            if number % AT_ONCE == 0:
                await asyncio.sleep(0)
        await slow_start(self._shared, ran_before, self._take_one)
        self._listener.start()

    def _take_one(self) -> bool:
        if not self._waiting:
            return self._listener is not None and self._listener.accept(1)
        self.go_on_with(self._waiting.popleft())
        return True

    def go_on_with(self, connected: socket.socket) -> None:
        """Takes over a connection of another server, one that waits for a request, of a socket that does not block."""
        assert self._others is not None, "the server has not started"
        try:
            address = connected.getpeername()[0]
        except OSError:
            # The client has left.
            connected.close()
            return
        self._others.admit(connected, str(address), "")

    def _catch_up_no_more(self) -> tuple[int, ...]:
        """Descriptors of connections that nobody has gone on with."""
        if self._catching_up is not None:
            self._catching_up.cancel()
        left = tuple(each.detach() for each in self._waiting)
        self._waiting.clear()
        return left

    def take(self, connected: socket.socket, peer: str) -> None:
        """Answers on a connection that another part of Sesame has made, as on one of `peer`. Raises `OSError`.

        Both of its ends have the server's address, as they have in the instance's network.
        """
        assert self._shared is not None, "the server has not started"
        if self._arrivals is not None and peer:
            # Whoever made the connection has been charged for its own part, and not for this one's.
            self._arrivals.of(peer).charge(units_of(self._tls))
        connected.setblocking(False)
        way = Way((self.host, 0), (self.host, self.port), 0)
        # `stop` breaks its handshake off with the connections.
        Admission(self._shared, self._tls).admit(connected, "", peer, Arrived(b"", 0, way=way))

    def adopt(self, connected: socket.socket, arrived: Arrived) -> None:
        """Goes on with a connection of another process, in the midst of a request. The socket is closed on failure."""
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
        """Has every connection look at its time limits; also called by a timer every `Limits.tick_s`."""
        if self._shared is not None:
            self._shared.tick()

    async def hand_over(self, name: str) -> Handed:
        """Leaves to another server what listens, and the connections that wait for a request. To be called before
        `stop`, of a server that was started.

        From here on nothing is accepted, and each connection that is left has its last answer. One without a request
        under way has `LAST_REQUEST_S` for it: it speaks TLS, or its client is in the midst of a head.
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
        # Their answers left before they could say that they are the last.
        left += await hand_over(shared.connections)
        return Handed(name, listening, (*waiting, *left), running)

    async def stop(self, grace_s: float) -> None:
        """No new connections; running requests get `grace_s` to end, then are cancelled.

        Holds on return: no request is running, unless one ignored its cancellation for `Limits.cancelled_s`.
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
            async with asyncio.timeout(grace_s) as self._grace:
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
        # One turn for the answers of those that were cancelled to leave.
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
        """Ends the grace of a `stop` that is under way: running requests are cancelled now."""
        if self._grace is not None and not self._grace.expired():
            self._grace.reschedule(asyncio.get_running_loop().time())


def _readable(sockets: Iterable[socket.socket]) -> list[socket.socket]:
    poll, by_fd = select.poll(), {each.fileno(): each for each in sockets}
    for fd in by_fd:
        poll.register(fd, select.POLLIN)
    return [by_fd[fd] for fd, _events in poll.poll(0)]
