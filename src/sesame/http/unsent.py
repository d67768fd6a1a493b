"""Bounds the memory of one endpoint's answers that clients have not read yet.

Used by `http.pace`, which reports each large write. Never waits and never refuses: the slowest readers are
disconnected.
"""

import asyncio
from itertools import count
from typing import Protocol
from weakref import WeakValueDictionary

# Smaller writes are not counted: the bound on connections bounds their sum.
COUNTED_BYTES = 64 * 1024
# All clients are looked through again once this share of the bound has been written, and not at each write near it.
SLACK = 1 / 16


class Taker(Protocol):
    """The part of `http.pace.Taking` that is used here."""

    transport: asyncio.Transport

    @property
    def taken_bytes_per_s(self) -> float:
        """How fast the client takes what it is sent; infinite while that is not known."""


class Unsent:
    """POLICY: beyond the bound, the clients that read most slowly are disconnected, among equals those that began
    first. An answer is never refused for lack of memory: it was computed, and a client that reads it gets it. The
    transports may hold `SLACK` more than the bound.
    """

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        # In the order in which they began.
        self._takers: WeakValueDictionary[int, Taker] = WeakValueDictionary()
        self._numbers = count()
        # At least what their transports hold.
        self._bytes = 0
        self._settles_at = limit_bytes

    def begins(self, taker: Taker) -> None:
        """Large writes to this client come."""
        self._takers[next(self._numbers)] = taker

    def grows(self, size: int) -> None:
        """`size` bytes were written to one of them; its transport may hold a part of them."""
        self._bytes += size
        if self._bytes > self._settles_at:
            self._settle()
            self._settles_at = max(self._limit_bytes, self._bytes + int(self._limit_bytes * SLACK))

    def _settle(self) -> None:
        held = [(taker, taker.transport.get_write_buffer_size()) for taker in self._takers.values()]
        self._bytes = sum(size for _taker, size in held)
        held.sort(key=lambda each: each[0].taken_bytes_per_s)
        for taker, size in held:
            if self._bytes <= self._limit_bytes:
                return
            if size:
                taker.transport.abort()
                self._bytes -= size
