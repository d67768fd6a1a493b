"""Has the writer answer inside the networks of a follower's instances, on sockets that the follower hands to it.

A follower's sandbox driver uses this instead of `sandbox.network.HostAnswers`.
"""

import asyncio
import itertools
import os
import socket
from collections.abc import Callable, Sequence
from typing import Protocol

from sesame.agents import messages as m
from sesame.sandbox.network import Answers, HostAnswers, Inside, Listen, Take

# At most as many connections to object storage wait for a writer; further ones are closed.
REACHING_MAX = 64

Send = Callable[[m.Message, tuple[int, ...]], None]


class FollowersAnswers(Answers, Protocol):
    """The driver's `Answers`, plus what the follower reports about the writer."""

    def offered(self, inside: Inside, taken: Sequence[Listen] = ()) -> None: ...

    def writer_gone(self) -> None: ...


class WritersAnswers:
    """Implements `sandbox.network.Answers`. Sockets stay open here, so that they can be handed to the next writer."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._inside: Inside | None = None
        self._complete = asyncio.Event()
        self._has_writer = False
        self._served: dict[int, tuple[Listen, socket.socket, str]] = {}
        self._numbers = itertools.count(1)
        # Connections to object storage that wait for a writer.
        self._reaching: list[tuple[socket.socket, str]] = []

    def offered(self, inside: Inside, taken: Sequence[Listen] = ()) -> None:
        """The writer can answer from now on; it also gets the sockets that a previous writer served."""
        self._inside = inside
        self._complete.set()
        if not self._has_writer:
            self._has_writer = True
            for number in self._served:
                self._hand(number)
            reaching, self._reaching = self._reaching, []
            for connected, client in reaching:
                self._reach(connected, client)

    def writer_gone(self) -> None:
        """The writer has ended: connections wait on the sockets until the next writer calls `offered`."""
        self._has_writer = False

    async def inside(self) -> Inside:
        await self._complete.wait()
        assert self._inside is not None
        return self._inside

    def serve(self, listen: Listen, socket: socket.socket, instance: str) -> Callable[[], None]:
        number = next(self._numbers)
        self._served[number] = listen, socket, instance
        if self._has_writer:
            self._hand(number)

        def end() -> None:
            if (served := self._served.pop(number, None)) is not None:
                served[1].close()
                self._send(m.EndInside(number), ())

        return end

    async def object_storage(self) -> Take:
        """Connections wait here while there is no writer. The writer closes them if it has no object storage."""
        return self._reach

    def _reach(self, connected: socket.socket, client: str) -> None:
        if self._has_writer:
            self._send(m.ReachObjects(client), (connected.detach(),))
        elif len(self._reaching) < REACHING_MAX:
            self._reaching.append((connected, client))
        else:
            connected.close()

    def _hand(self, number: int) -> None:
        listen, served, instance = self._served[number]
        self._send(m.ServeInside(number, listen, instance), (os.dup(served.fileno()),))


async def reach(answers: HostAnswers, connected: socket.socket, client: str) -> None:
    """At the writer: connects a client of a follower to object storage."""
    take = await answers.object_storage()
    if take is None:
        connected.close()
    else:
        take(connected, client)
