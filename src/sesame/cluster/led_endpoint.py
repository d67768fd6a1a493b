"""An endpoint of the writer on a node without it: its connections are accepted here and led to the writer, unread.

Made by `_tunnels` in a follower's process for object storage, the Log Service, STS and the others.
"""

import socket
from typing import Any

from sesame.cluster import heads
from sesame.cluster.accepting import Accepting
from sesame.cluster.carrying import onward, way_of
from sesame.cluster.tunnels import Client, Tunnels, Where, close_unheard


class LedEndpoint:
    """Belongs to the event loop that is running. `start` once, then `close` once."""

    def __init__(self, name: str, listening: socket.socket, tunnels: Tunnels, writer: Where, away_s: float) -> None:
        """`name` is the setting of its port. A connection waits for a writer for up to `away_s`."""
        self._name = name
        self._tunnels = tunnels
        self._writer = writer
        self._away_s = away_s
        # One at a time: where the writer is on this node, it takes its part of them.
        self._accepting = Accepting(listening, self._lead, f"clients of {name}", 1)

    def start(self) -> None:
        self._accepting.start()

    def close(self) -> None:
        """Idempotent. What was accepted is the tunnels'."""
        self._accepting.close()

    def _lead(self, accepted: socket.socket, _address: Any) -> None:
        try:
            accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            way = way_of(accepted)
        except OSError:
            # The client has gone already.
            accepted.close()
            return
        client = Client(accepted, way.client[0], b"", close_unheard)
        self._tunnels.lead(client, heads.Endpoint(self._name, onward(way)), self._writer, away_s=self._away_s)
