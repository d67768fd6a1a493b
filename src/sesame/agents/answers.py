"""What the host answers inside the networks of a follower's instances: the writer does, on sockets that it is handed.

Used by a follower's sandbox driver in the place of `sandbox.network.HostAnswers`.
"""

import asyncio
import itertools
import os
import socket
from collections.abc import Callable, Sequence
from typing import Protocol

from sesame.agents import messages as m
from sesame.sandbox.network import Answers, Inside, Listen, Take

Send = Callable[[m.Message, tuple[int, ...]], None]


class FollowersAnswers(Answers, Protocol):
    """What a follower's driver asks, and what the writer says of it."""

    def offered(self, inside: Inside, taken: Sequence[Listen] = ()) -> None: ...

    def writer_gone(self) -> None: ...


class WritersAnswers:
    """As `sandbox.network.Answers`. Sockets stay open here, so that another writer can be handed them."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._inside: Inside | None = None
        self._complete = asyncio.Event()
        self._has_writer = False
        self._served: dict[int, tuple[Listen, socket.socket, str]] = {}
        self._numbers = itertools.count(1)

    def offered(self, inside: Inside, taken: Sequence[Listen] = ()) -> None:
        """The writer can answer from here on, also in the networks that there are from the time of another."""
        self._inside = inside
        self._complete.set()
        if not self._has_writer:
            self._has_writer = True
            for number in self._served:
                self._hand(number)

    def writer_gone(self) -> None:
        """What comes in waits, until the next one offers."""
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

    async def object_storage(self) -> Take | None:
        """None: functions with buckets run on the writer."""
        return None

    def _hand(self, number: int) -> None:
        listen, served, instance = self._served[number]
        self._send(m.ServeInside(number, listen, instance), (os.dup(served.fileno()),))
