"""Receives tunnels from other nodes and hands each to an endpoint, as if its client had connected to this node.

Registered with `port` for tunnels in each process of a node; `tunnels` is the sending side. No bytes are copied here:
the endpoint answers on the tunnel's connection itself.
"""

import asyncio
import socket
from collections.abc import Callable, Iterable, Mapping

import structlog

from sesame.cluster import heads
from sesame.cluster.port import Address, AgentPort
from sesame.http.moving import Arrived
from sesame.http.server import HttpServer
from sesame.model.errors import PlatformError
from sesame.sandbox.network import Listen

# How long an authenticated node gets to send the head, which it sends right after its proof.
HEAD_WITHIN_S = 10.0
# How long a tunnel waits while this process starts, and how many may wait.
WAITS_S = 15.0
WAITING_MAX = 2048

TakeInside = Callable[[Listen, socket.socket, str], bool]
"""Hands a connection from an instance on another node to what serves `listen` here. Returns False if nothing does."""

log = structlog.get_logger("sesame.cluster")


class Arrivals:
    """Used in the running event loop. Tunnels wait until `open` is called."""

    def __init__(self) -> None:
        self._servers: Mapping[str, HttpServer] = {}
        self._movable: HttpServer | None = None
        self._take_inside: TakeInside = lambda _listen, _connected, _instance: False
        self._is_open = asyncio.Event()
        self._tasks: dict[asyncio.Task[None], socket.socket] = {}

    def open(
        self,
        movable: HttpServer,
        servers: Mapping[str, HttpServer] | None = None,
        take_inside: TakeInside | None = None,
    ) -> None:
        """`movable` continues requests of Function Compute.

        The writer also passes its other `servers`, by the names of their settings, and `take_inside`.
        """
        self._movable = movable
        self._servers = servers or {}
        self._take_inside = take_inside or self._take_inside
        self._is_open.set()

    async def drain(self, port: AgentPort, servers: Iterable[HttpServer], grace_s: float) -> None:
        """Called once the servers have stopped: closes the port, and gives requests that came since `grace_s` to end.

        Until then, other nodes could still send requests that running calls make. From now on they look for another
        node. Tunnels have as long to be handed on; `close` ends this wait.
        """
        port.close()
        if self._tasks and self._is_open.is_set() and grace_s > 0:
            await asyncio.wait(self._tasks, timeout=grace_s)
        self.close()
        await asyncio.gather(*(server.stop_again(grace_s) for server in servers))

    def close(self) -> None:
        """Closes the tunnels that have not been handed on. Idempotent."""
        for task in self._tasks:
            task.cancel()

    def take(self, connected: socket.socket, address: Address) -> None:
        """A `port.Take` for tunnels."""
        if len(self._tasks) >= WAITING_MAX:
            connected.close()
            log.warning("a tunnel of another node is refused: too many wait", node=address[0], waiting=WAITING_MAX)
            return
        task = asyncio.get_running_loop().create_task(self._take(connected, address))
        self._tasks[task] = connected
        task.add_done_callback(self._taken)

    def _taken(self, task: asyncio.Task[None]) -> None:
        connected = self._tasks.pop(task)
        if task.cancelled():
            connected.close()

    async def _take(self, connected: socket.socket, address: Address) -> None:
        try:
            async with asyncio.timeout(HEAD_WITHIN_S):
                head = await heads.read_head(connected)
            async with asyncio.timeout(WAITS_S):
                await self._is_open.wait()
        except (OSError, PlatformError) as error:
            log.warning("a tunnel of another node has ended before it began", node=address[0], why=repr(error))
            connected.close()
            return
        if not self._hand_on(connected, head):
            log.error("a tunnel of another node is for what is not served here", node=address[0], wanted=repr(head))
            connected.close()

    def _hand_on(self, connected: socket.socket, head: heads.Head) -> bool:
        match head:
            case heads.Request():
                assert self._movable is not None
                self._movable.adopt(connected, Arrived(b"", head.moves, head.proven, head.way, drawn=head.drawn))
                return True
            case heads.Endpoint():
                server = self._servers.get(head.name)
                if server is None:
                    return False
                server.adopt(connected, Arrived(b"", 0, way=head.way))
                return True
            case heads.Inside():
                return self._take_inside(head.listen, connected, head.instance)
