"""What a server leaves to the next one in its process's place: what listens, and connections that wait for a request.

Filled by `http.server` when Sesame restarts, carried over an `exec` by `cli.restarting`, taken by `_endpoints`. Clients
notice nothing: what comes meanwhile waits in the kernel.
"""

import os
from collections.abc import Iterable

import msgspec

from sesame.http.connection import Connection
from sesame.http.shared import Tracked


class Handed(msgspec.Struct, frozen=True):
    """Of one endpoint, by what the operator asked for: descriptors of its listening socket and of its connections."""

    name: str
    listening: int
    connections: tuple[int, ...]

    def close(self) -> None:
        for fd in (self.listening, *self.connections):
            os.close(fd)


class Handover:
    """Once it has `begun`, servers that stop add to it. `received` is from those before."""

    def __init__(self, received: Iterable[Handed] = ()) -> None:
        self._received = {each.name: each for each in received}
        self.handed: list[Handed] = []
        self.begun = False

    def take(self, name: str) -> Handed | None:
        """What is there for an endpoint; its descriptors are the caller's from now on."""
        return self._received.pop(name, None)

    def forget_rest(self) -> None:
        """Closes what no endpoint has taken, which is asked for no more."""
        while self._received:
            self._received.popitem()[1].close()


def released(connection: Tracked) -> int | None:
    """A descriptor of a connection that waits for a request, and that its server then forgets; None of any other.

    What its client has sent and nobody has read comes with it. Of TLS there is more than a descriptor.
    """
    if not isinstance(connection, Connection) or connection.instance or connection.refused or not connection.idle:
        return None
    transport = connection.transport
    if transport.get_extra_info("ssl_object") is not None or transport.get_write_buffer_size():
        return None
    fd = os.dup(transport.get_extra_info("socket").fileno())
    connection.abort()
    return fd
