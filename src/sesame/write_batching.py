"""Lets small writes of one event loop leave together while much is under way (docs/adr/0005).

Used by `http.connection` for answers to clients and by `sandbox.wire` for calls to instances.
Never changes the order of writes, and never holds one back when nothing else is under way.
"""

import asyncio
from collections.abc import Callable
from typing import Protocol
from weakref import WeakKeyDictionary


class Transport(Protocol):
    """The part of `asyncio.Transport` that is used here."""

    def write(self, data: bytes) -> None: ...

    def is_closing(self) -> bool: ...


class Outbox:
    """Belongs to one event loop. Holds writes for one turn of it per other thing under way, at most `turns_max`."""

    def __init__(self, loop: asyncio.AbstractEventLoop, turns_max: int) -> None:
        # For writers whose answers come through the same outbox to count themselves in.
        self.under_way = 0
        self._loop = loop
        self._turns_max = turns_max
        self._turns_left = 0
        self._held: list[tuple[Transport, bytes]] = []

    def write(self, transport: Transport, data: bytes, *, others: int) -> None:
        """Writes now or soon. `others` is what is under way beside this, of which answers may come soon too."""
        if self._held:
            self._held.append((transport, data))
        elif others <= 0:
            transport.write(data)
        else:
            self._held.append((transport, data))
            self._turns_left = min(others, self._turns_max)
            self._wait()

    def flush(self) -> None:
        """Afterwards nothing is held. What is for a transport that has closed meanwhile is for nobody."""
        held, self._held = self._held, []
        for transport, data in held:
            if not transport.is_closing():
                transport.write(data)

    def _wait(self) -> None:
        self._turns_left -= 1
        self._loop.call_soon(self._wait if self._turns_left > 0 else self.flush)


def shared(turns_max: int) -> Callable[[], Outbox]:
    """A function that gives the running loop's own outbox, the same one each time."""
    made: WeakKeyDictionary[asyncio.AbstractEventLoop, Outbox] = WeakKeyDictionary()

    def of_running_loop() -> Outbox:
        loop = asyncio.get_running_loop()
        outbox = made.get(loop)
        if outbox is None:
            outbox = made[loop] = Outbox(loop, turns_max)
        return outbox

    return of_running_loop
