"""Forwards connections to one address in an instance's network to the same address in the host's network.

For single services in `network_allow`, such as a database on the developer's machine.
"""

import asyncio
import functools
import socket
from collections.abc import Callable

from sesame.inside.bounds import Bounds, Client
from sesame.inside.relaying import Acceptor, closing, connected, relay
from sesame.inside.rules import Allowed

CONNECT_TIMEOUT_S = 10.0


class Forwarding:
    def __init__(self, allowed: Allowed, bounds: Bounds) -> None:
        self._allowed = allowed
        self._bounds = bounds

    def serve(self, listening: socket.socket, client: str) -> Callable[[], None]:
        """A `sandbox.network.Serve`."""
        bounded = self._bounds.of(client)
        return Acceptor(listening, functools.partial(self._forward, bounded), bounded).end

    async def _forward(self, client: Client, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        theirs = await connected(client, self._allowed.host, self._allowed.port, CONNECT_TIMEOUT_S)
        await closing(theirs[1], relay((reader, writer), theirs, client.passing))
