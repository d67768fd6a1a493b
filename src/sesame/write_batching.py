"""Combines small writes of one event loop while several requests are in flight (docs/adr/0005).

Used by `http.connection` for answers to clients and by `sandbox.wire` for calls to instances.
Keeps the order of writes; a write is not delayed if nothing else is in flight.
"""

import asyncio
from collections.abc import Callable
from typing import Protocol
from weakref import WeakKeyDictionary


class Transport(Protocol):
    """The part of `asyncio.Transport` that `WriteBatch` uses."""

    def write(self, data: bytes) -> None: ...

    def is_closing(self) -> bool: ...


class WriteBatch:
    """Belongs to one event loop. Holds writes for one iteration per other request in flight, at most `turns_max`."""

    def __init__(self, loop: asyncio.AbstractEventLoop, turns_max: int) -> None:
        # Requests in flight, counted by the writers that share this batch.
        self.under_way = 0
        self._loop = loop
        self._turns_max = turns_max
        self._turns_left = 0
        self._held: list[tuple[Transport, bytes]] = []

    def write(self, transport: Transport, data: bytes, *, others: int) -> None:
        """Writes now or within a few iterations. `others` counts other requests in flight, which may write soon."""
        if self._held:
            self._held.append((transport, data))
        elif others <= 0:
            transport.write(data)
        else:
            self._held.append((transport, data))
            self._turns_left = min(others, self._turns_max)
            self._wait()

    def flush(self) -> None:
        """Writes everything that is held; data for a transport that has closed meanwhile is dropped."""
        held, self._held = self._held, []
        for transport, data in held:
            if not transport.is_closing():
                transport.write(data)

    def _wait(self) -> None:
        self._turns_left -= 1
        self._loop.call_soon(self._wait if self._turns_left > 0 else self.flush)


def shared(turns_max: int) -> Callable[[], WriteBatch]:
    """Returns a function that returns the running loop's batch, the same one each time."""
    made: WeakKeyDictionary[asyncio.AbstractEventLoop, WriteBatch] = WeakKeyDictionary()

    def of_running_loop() -> WriteBatch:
        loop = asyncio.get_running_loop()
        batch = made.get(loop)
        if batch is None:
            batch = made[loop] = WriteBatch(loop, turns_max)
        return batch

    return of_running_loop
