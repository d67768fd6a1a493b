"""An endpoint of the writer on a node without it: its connections are accepted here and led to the writer, unread.

Made by `_tunnels` in a follower's process for object storage, the Log Service, STS and the others.
"""

import asyncio
import socket

import structlog

from sesame.cluster import heads
from sesame.cluster.carrying import onward, way_of
from sesame.cluster.tunnels import Client, Tunnels, Where

# Without descriptors nothing is accepted for so long.
PAUSE_S = 0.2
LOG_EVERY_S = 10.0

log = structlog.get_logger("sesame.cluster")


class LedEndpoint:
    """Belongs to the event loop that is running. `start` once, then `close` once."""

    def __init__(self, name: str, listening: socket.socket, tunnels: Tunnels, writer: Where, away_s: float) -> None:
        """`name` is the setting of its port. A connection waits for a writer for up to `away_s`."""
        listening.setblocking(False)
        self._name = name
        self._socket = listening
        self._tunnels = tunnels
        self._writer = writer
        self._away_s = away_s
        self._loop = asyncio.get_running_loop()
        self._paused: asyncio.TimerHandle | None = None
        self._logged_at = -LOG_EVERY_S

    def start(self) -> None:
        self._paused = None
        # One at a time: where the writer is on this node, it takes its part of them.
        self._loop.add_reader(self._socket.fileno(), self._accept)

    def close(self) -> None:
        """Idempotent. What was accepted is the tunnels'."""
        if self._paused is not None:
            self._paused.cancel()
        if self._socket.fileno() >= 0:
            self._loop.remove_reader(self._socket.fileno())
            self._socket.close()

    def _accept(self) -> None:
        try:
            accepted, _address = self._socket.accept()
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            return
        except OSError as error:
            if self._loop.time() - self._logged_at >= LOG_EVERY_S:
                self._logged_at = self._loop.time()
                log.error("connections cannot be accepted; trying again", endpoint=self._name, error=str(error))
            self._loop.remove_reader(self._socket.fileno())
            self._paused = self._loop.call_later(PAUSE_S, self.start)
            return
        accepted.setblocking(False)
        try:
            accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            way = way_of(accepted)
        except OSError:
            # The client has gone already.
            accepted.close()
            return
        client = Client(accepted, way.client[0], b"", _close)
        self._tunnels.lead(client, heads.Endpoint(self._name, onward(way)), self._writer, away_s=self._away_s)


def _close(connected: socket.socket, _why: str) -> None:
    """Nobody knows what the client speaks, and so how to tell it."""
    connected.close()
