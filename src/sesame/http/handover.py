"""What a server leaves to the next one in its process's place: what listens, and connections that wait for a request.

Filled by `http.server` when Sesame restarts, carried over an `exec` by `cli.restarting`, taken by `_endpoints`; where
one of several agents is replaced, passed on to another one by `agents.supervisor`. Clients notice nothing: what comes
meanwhile waits in the kernel.
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
    """Of one endpoint, by what the operator asked for: descriptors of its listening socket and of its connections.

    `running` is how many requests it was answering.
    """

    name: str
    listening: int
    connections: tuple[int, ...]
    running: int

    def close(self) -> None:
        for fd in (self.listening, *self.connections):
            os.close(fd)


class Handover:
    """Once it has `begun`, servers that stop leave to it what `handed` then has. `received` is from those before."""

    def __init__(self, received: Iterable[Handed] = (), leaves: Callable[[Handed], None] | None = None) -> None:
        """With `leaves`, that takes at once what a server leaves."""
        self._received = {each.name: each for each in received}
        self._leaves = leaves
        self._serving: dict[str, Callable[[socket.socket], None]] = {}
        self.handed: list[Handed] = []
        self.begun = False

    def serves(self, name: str, go_on: Callable[[socket.socket], None]) -> None:
        """A server of this endpoint is there: connections of others can be gone on with."""
        self._serving[name] = go_on

    def go_on(self, name: str, connected: socket.socket) -> bool:
        """Has the endpoint's server go on with a connection of another one; False where it takes none any more."""
        go_on = None if self.begun else self._serving.get(name)
        if go_on is not None:
            go_on(connected)
        return go_on is not None

    def leave(self, handed: Handed) -> None:
        """From a server that stops. Closed where the handover was given up meanwhile."""
        if self.begun and self._leaves is not None:
            self._leaves(handed)
        elif self.begun:
            self.handed.append(handed)
        else:
            handed.close()

    def give_up(self) -> None:
        """There will be no next server: what was left is closed, so that new connections are refused."""
        self.begun = False
        while self.handed:
            self.handed.pop().close()

    def take(self, name: str) -> Handed | None:
        """What is there for an endpoint; its descriptors are the caller's from now on."""
        return self._received.pop(name, None)

    def listening(self, name: str) -> int | None:
        """The descriptor of what listens for an endpoint, which stays here until it is taken."""
        handed = self._received.get(name)
        return None if handed is None else handed.listening

    def make_room(self, port: int) -> None:
        """Closes what was there for an endpoint at this port, which is asked for otherwise now: the port must be free.

        POLICY: an endpoint that has the same port at another address listens anew then, and loses clients that wait.
        """
        for name in [each.name for each in self._received.values() if _port_of(each.listening) == port]:
            self._received.pop(name).close()

    def forget_rest(self) -> None:
        """Closes what no endpoint has taken, which is asked for no more."""
        while self._received:
            self._received.popitem()[1].close()


def _port_of(listening: int) -> int:
    of_it = socket.socket(fileno=listening)
    try:
        return int(of_it.getsockname()[1])
    finally:
        of_it.detach()


# Connections that are handed over, or gone on with, before the event loop turns to other work.
AT_ONCE = 64


async def hand_over(connections: Iterable[Tracked]) -> list[int]:
    """Descriptors of those that wait for a request, and that their server then forgets.

    What a client has sent and nobody has read comes with it. Left as they are: what speaks TLS or has come from another
    machine, of which there is more than a descriptor, what a client does not take, and all for which there is no
    descriptor left.
    """
    resting = [each for each in connections if isinstance(each, Connection) and _rests(each)]
    for each in resting:
        each.pause_reading()
    # Answers that were written in this turn leave at its end, and are counted by the transport from then on.
    await asyncio.sleep(0)
    handed: list[int] = []
    for number, each in enumerate(resting, 1):
        fd = _released(each)
        if fd is None:
            each.resume_reading()
        else:
            handed.append(fd)
        if number % AT_ONCE == 0:
            # Their own descriptors are closed in a turn of the event loop.
            await asyncio.sleep(0)
    return handed


def _rests(connection: Connection) -> bool:
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
