"""An endpoint of the writer on another node: accepts connections and tunnels them to the writer, unread.

Created by `_tunnels` in a follower's process for object storage, the Log Service, STS and the others.
"""

import socket
from typing import Any

from sesame.cluster import heads
from sesame.cluster.accepting import Accepting
from sesame.cluster.carrying import onward, way_of
from sesame.cluster.tunnels import Client, Tunnels, Where, close_unheard


class LedEndpoint:
    """Used in the running event loop. Call `start` once, later `close`."""

    def __init__(self, name: str, listening: socket.socket, tunnels: Tunnels, writer: Where, away_s: float) -> None:
        """`name` is the setting of its port. A connection waits up to `away_s` seconds for a writer."""
        self._name = name
        self._tunnels = tunnels
        self._writer = writer
        self._away_s = away_s
        # One at a time: if the writer is on this node, both accept from the same socket and share the connections.
        self._accepting = Accepting(listening, self._lead, f"clients of {name}", 1)

    def start(self) -> None:
        self._accepting.start()

    def close(self) -> None:
        """Stops accepting; the tunnels stay open. Idempotent."""
        self._accepting.close()

    def _lead(self, accepted: socket.socket, _address: Any) -> None:
        try:
            accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            way = way_of(accepted)
        except OSError:
            # The client has already disconnected.
            accepted.close()
            return
        client = Client(accepted, way.client[0], b"", close_unheard)
        self._tunnels.lead(client, heads.Endpoint(self._name, onward(way)), self._writer, away_s=self._away_s)
