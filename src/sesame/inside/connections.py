"""Relays TCP connections of functions to addresses outside their network.

A socket in the instance's network accepts connections to any address but the instance's own (`sandbox.network.WayOut`).
Connections that `inside.rules` refuses, that are not answered or that break are reset.
"""

import asyncio
import ipaddress
import socket
import struct
from collections.abc import Callable

from sesame.inside.bounds import Bounds, Client
from sesame.inside.refusals import Refusals
from sesame.inside.relaying import Acceptor, closing, connected, relay
from sesame.inside.rules import EgressRules

CONNECT_TIMEOUT_S = 30.0
# SO_LINGER enabled with zero seconds: closing resets the connection.
_NO_LINGERING = struct.pack("ii", 1, 0)


class Connections:
    def __init__(self, rules: EgressRules, bounds: Bounds) -> None:
        self._rules = rules
        self._bounds = bounds
        self._refusals = Refusals()

    def serve(self, listening: socket.socket, client: str) -> Callable[[], None]:
        """A `sandbox.network.Serve`."""

        bounded = self._bounds.of(client)

        async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                await self._pass_on(reader, writer, bounded)
            except OSError:
                writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGERING)
                raise

        return Acceptor(listening, pass_on, bounded).end

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, client: Client) -> None:
        # The socket's own address is the one that the function connected to.
        host, port = writer.get_extra_info("sockname")[:2]
        if not self._rules.permit(ipaddress.ip_address(host), port):
            self._refusals.say(client.name, host, port)
            raise ConnectionRefusedError(f"{host}:{port} is not allowed")
        theirs = await connected(client, host, port, CONNECT_TIMEOUT_S)
        await closing(theirs[1], relay((reader, writer), theirs, client.passing))
