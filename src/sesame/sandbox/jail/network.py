"""The host's side of one instance's own network: the sockets in it that the host holds.

Created by `jail.prewarmed` for each instance, closed by `jail.host_resources`. runtime/jail/network.py is the other
side. Few of the sockets are ever used, while registering each with the event loop and its server takes about 30 µs at
either end. They are therefore watched together, and a socket is handed to its server when something arrives there.
"""

import asyncio
import contextlib
import os
import select
import socket
from collections.abc import Callable
from typing import Any

import msgspec
import structlog

from sesame.sandbox.jail import netlink
from sesame.sandbox.network import Answers, Inside, Listen

_RAW = "raw"

log = structlog.get_logger("sesame.sandbox")


def set_up(inside: Inside) -> dict[str, Any]:
    """The arguments, apart from the socket, that `set_up` of runtime/jail/network.py expects."""
    return {
        "netlink": netlink.messages(inside.addresses, inside.ways_out),
        "listens": [[each.kind, each.address, each.port, each.takes_all] for each in inside.listens],
    }


class InstanceNetwork:
    """Holds the namespace's sockets from the moment the instance sends them until `close`."""

    def __init__(self, inside: Inside, answers: Answers, name: str) -> None:
        self._inside = inside
        self._answers = answers
        self._name = name
        self._ours, self._theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._ours.setblocking(False)
        self._ends: dict[Listen, Callable[[], None]] = {}
        self._arrived = asyncio.Event()
        # Sockets that have received nothing yet, by descriptor.
        self._unused: dict[int, tuple[Listen, socket.socket]] = {}
        self._watching: select.epoll | None = None
        # Whether the instance has no internet access.
        self._confined = False

    def request(self, lend: Callable[[int], int]) -> dict[str, Any]:
        """The network part of the request to runtime/jail/network.py."""
        return {
            "socket": lend(self._theirs.fileno()),
            **set_up(self._inside),
        }

    def begin(self) -> None:
        """Called once the instance has been requested: serves its sockets as soon as they arrive."""
        self._theirs.close()
        asyncio.get_running_loop().add_reader(self._ours.fileno(), self._on_readable)

    def add_variables(self, environment: dict[str, str]) -> None:
        """Adds the proxy variables, except those that the function itself sets, in upper or lower case."""
        present = {name.lower() for name in environment}
        for name, value in self._inside.environment.items():
            if name.lower() not in present:
                environment[name] = value

    async def release(self, port: int) -> None:
        """Stops serving this TCP port, so that the instance's program may listen there."""
        await self._arrived.wait()
        self._drop(lambda listen: (listen.kind, listen.port) == ("tcp", port))

    async def confine(self) -> None:
        """Gives the instance no internet access. Call before anything of the function runs."""
        await self._arrived.wait()
        self._confined = True
        self._drop(lambda listen: listen.leads_out and listen.kind == "udp")

    def _drop(self, wanted: Callable[[Listen], bool]) -> None:
        for listen in [each for each in self._ends if wanted(each)]:
            self._ends.pop(listen)()
        for fd, (listen, unused) in list(self._unused.items()):
            if wanted(listen):
                self._no_longer_watched(fd)
                unused.close()

    def close(self) -> None:
        """Stops serving, and releases everything in the namespace. Idempotent."""
        self._stop_reading()
        self._theirs.close()
        if self._watching is not None:
            asyncio.get_running_loop().remove_reader(self._watching.fileno())
            self._watching.close()
            self._watching = None
        while self._unused:
            self._unused.popitem()[1][1].close()
        while self._ends:
            self._ends.popitem()[1]()
        self._arrived.set()

    def _on_readable(self) -> None:
        expected = len(self._inside.listens)
        try:
            # Programs that Sesame starts must not inherit them.
            _data, fds, flags, _address = socket.recv_fds(self._ours, 1, expected, socket.MSG_CMSG_CLOEXEC)
        except BlockingIOError:
            return
        except OSError:
            fds, flags = [], 0
        self._stop_reading()
        if len(fds) == expected:
            with contextlib.suppress(OSError):
                self._watching = select.epoll()
        if self._watching is not None:
            self._watch([socket.socket(fileno=fd) for fd in fds], self._watching)
        else:
            for fd in fds:
                os.close(fd)
            if fds or flags & socket.MSG_CTRUNC:
                # The instance then has only its own loopback; the operator finds the reason in the log.
                log.error("an instance's network cannot be served: no descriptors left", instance=self._name)
        self._arrived.set()

    def _watch(self, sockets: list[socket.socket], watching: select.epoll) -> None:
        for listen, made in zip(self._inside.listens, sockets, strict=True):
            made.setblocking(False)
            if listen.kind == _RAW:
                # Nothing is received on it: other sockets send through it.
                self._ends[listen] = self._answers.serve(listen, made, self._name)
            else:
                self._unused[made.fileno()] = listen, made
                watching.register(made.fileno(), select.EPOLLIN)
        asyncio.get_running_loop().add_reader(watching.fileno(), self._on_first_use)

    def _on_first_use(self) -> None:
        assert self._watching is not None
        for fd, _events in self._watching.poll(0):
            listen, made = self._no_longer_watched(fd)
            served = msgspec.structs.replace(listen, confined=True) if self._confined and listen.leads_out else listen
            self._ends[listen] = self._answers.serve(served, made, self._name)

    def _no_longer_watched(self, fd: int) -> tuple[Listen, socket.socket]:
        assert self._watching is not None
        # Closing alone may not remove it: a program that Sesame is starting holds a copy until it is executed.
        self._watching.unregister(fd)
        return self._unused.pop(fd)

    def _stop_reading(self) -> None:
        if self._ours.fileno() >= 0:
            asyncio.get_running_loop().remove_reader(self._ours.fileno())
            self._ours.close()
