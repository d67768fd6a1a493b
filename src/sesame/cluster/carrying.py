"""Moves requests between nodes: a connection in the middle of a request continues at another node through a tunnel.

Used by followers and the writer of a cluster as `agents.link.Carry`, where a link cannot pass descriptors.
"""

import socket
from collections.abc import Callable

import msgspec
import structlog

from sesame.agents.policies import MOVES_MAX
from sesame.cluster import heads
from sesame.cluster.port import Address, address_of
from sesame.cluster.tunnels import AWAY_S, CONNECTS_WITHIN_S, Client, Tunnels, Where
from sesame.http.moving import Arrived, Moved
from sesame.http.shared import Way

log = structlog.get_logger("sesame.cluster")


class Carrier:
    """Implements `agents.link.Carry`."""

    def __init__(
        self,
        tunnels: Tunnels,
        writer: Where,
        adopt: Callable[[socket.socket, Arrived], None],
        away_s: float = AWAY_S,
    ) -> None:
        """`writer` returns the writer's address, waiting up to `away_s` seconds for a writer.

        `adopt` continues here a connection that could not be moved.
        """
        self._away_s = away_s
        self._tunnels = tunnels
        self._writer = writer
        self._adopt = adopt

    def __call__(self, to: str, moved: Moved) -> None:
        connected, arrived = socket.socket(fileno=moved.fd), moved.arrived
        connected.setblocking(False)
        try:
            way = arrived.way or way_of(connected)
        except OSError:
            # The client has disconnected.
            connected.close()
            return
        head = heads.Request(arrived.moves, arrived.proven, onward(way), arrived.drawn)

        def failed(back: socket.socket, why: str) -> None:
            # If another agent was the goal, let the request go to the writer instead. If the writer was, refuse it.
            moves, refusal = (MOVES_MAX, "") if to else (arrived.moves, why)
            self._adopt(back, msgspec.structs.replace(arrived, moves=moves, way=way, refusal=refusal))

        client = Client(connected, way.client[0], arrived.data, failed)
        if to:
            address = address_of(to)

            async def there() -> Address:
                return address

            self._tunnels.lead(client, head, there, away_s=CONNECTS_WITHIN_S)
        else:
            self._tunnels.lead(client, head, self._writer, away_s=self._away_s)


def way_of(connected: socket.socket) -> Way:
    """The addresses of a connection that a client made to this machine. Raises `OSError` if the client has left."""
    client, own = connected.getpeername(), connected.getsockname()
    return Way((str(client[0]), int(client[1])), (str(own[0]), int(own[1])), 0)


def onward(way: Way) -> Way:
    """The same connection's way as seen on the next machine: one machine more."""
    return Way(way.client, way.server, way.machines + 1)
