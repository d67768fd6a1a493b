"""What a server passes to its successor: its listening socket, and the connections that wait for a request.

Filled by `http.server` when Sesame restarts, carried over an `exec` by `cli.restarting`, taken by `_listening`. When
one of several agents is replaced, `agents.supervisor` passes it to another one. Clients notice nothing: data that
arrives in between waits in the kernel.
"""

import asyncio
import os
import socket
from collections.abc import Callable, Iterable

import msgspec

from sesame.http.connection import Connection
from sesame.http.moving import MovableConnection
from sesame.http.shared import Tracked


class Handed(msgspec.Struct, frozen=True):
    """What one endpoint passes on, identified by the configured `name`: descriptors of its listening socket and
    connections.

    `running` is the number of requests it was answering.
    """

    name: str
    listening: int
    connections: tuple[int, ...]
    running: int

    def close(self) -> None:
        for fd in (self.listening, *self.connections):
            os.close(fd)


class Handover:
    """After it has `begun`, servers that stop add to `handed`. `received` comes from the predecessors."""

    def __init__(self, received: Iterable[Handed] = (), leaves: Callable[[Handed], None] | None = None) -> None:
        """`leaves`, if given, immediately receives what a server passes on."""
        self._received = {each.name: each for each in received}
        self._leaves = leaves
        self._serving: dict[str, Callable[[socket.socket], None]] = {}
        self.handed: list[Handed] = []
        self.begun = False

    def serves(self, name: str, go_on: Callable[[socket.socket], None]) -> None:
        """Registers an endpoint's server, which can take over connections of others."""
        self._serving[name] = go_on

    def go_on(self, name: str, connected: socket.socket) -> bool:
        """Passes another server's connection to the endpoint's server. False if it does not take any more."""
        go_on = None if self.begun else self._serving.get(name)
        if go_on is not None:
            go_on(connected)
        return go_on is not None

    def leave(self, handed: Handed) -> None:
        """Accepts what a stopping server passes on; closes it if the handover was given up."""
        if self.begun and self._leaves is not None:
            self._leaves(handed)
        elif self.begun:
            self.handed.append(handed)
        else:
            handed.close()

    def give_up(self) -> None:
        """There will be no successor: closes what was passed on, so that new connections are refused."""
        self.begun = False
        while self.handed:
            self.handed.pop().close()

    def take(self, name: str) -> Handed | None:
        """What was received for an endpoint; the caller then owns the descriptors."""
        return self._received.pop(name, None)

    def listening(self, name: str) -> int | None:
        """The descriptor of an endpoint's received listening socket, which stays here until it is taken."""
        handed = self._received.get(name)
        return None if handed is None else handed.listening

    def make_room(self, port: int) -> None:
        """Closes what was received for an endpoint on this port that is now configured differently: the port must be
        free.

        POLICY: an endpoint that keeps the port but changes the address listens anew, and loses waiting clients.
        """
        for name in [each.name for each in self._received.values() if _port_of(each.listening) == port]:
            self._received.pop(name).close()

    def close_unused(self) -> None:
        """Closes sockets that no endpoint has taken, because their endpoint is no longer configured."""
        while self._received:
            self._received.popitem()[1].close()


def _port_of(listening: int) -> int:
    of_it = socket.socket(fileno=listening)
    try:
        return int(of_it.getsockname()[1])
    finally:
        of_it.detach()


# How many connections are handed over or taken over before the event loop turns to other work.
AT_ONCE = 64


async def hand_over(connections: Iterable[Tracked]) -> list[int]:
    """Returns descriptors of the connections that wait for a request; their server then forgets them.

    Data that a client has sent but nobody has read goes with the descriptor. Not handed over are connections with TLS
    or from another machine, which have more state than a descriptor, connections whose client does not read, and those
    for which no descriptor is left.
    """
    chosen = [each for each in connections if isinstance(each, Connection) and _can_be_handed_over(each)]
    for each in chosen:
        each.pause_reading()
    # Answers written in this turn are sent at its end; from then on the transport accounts for them.
    await asyncio.sleep(0)
    handed: list[int] = []
    for number, each in enumerate(chosen, 1):
        fd = _released(each)
        if fd is None:
            each.resume_reading()
        else:
            handed.append(fd)
        if number % AT_ONCE == 0:
            # The originals are closed in a turn of the event loop.
            await asyncio.sleep(0)
    return handed


def _can_be_handed_over(connection: Connection) -> bool:
    from_elsewhere = isinstance(connection, MovableConnection) and connection.from_elsewhere
    own = connection.instance or connection.refused or from_elsewhere
    return connection.idle and not own and connection.transport.get_extra_info("ssl_object") is None


def _released(connection: Connection) -> int | None:
    transport = connection.transport
    if not connection.idle or transport.get_write_buffer_size():
        return None
    try:
        fd = os.dup(transport.get_extra_info("socket").fileno())
    except OSError:
        return None
    connection.abort()
    return fd
