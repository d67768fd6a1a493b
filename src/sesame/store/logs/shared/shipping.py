"""Uploads functions' lines in a cluster to the bucket, a few seconds later, and deletes old ones there.

Belongs to the writer of a cluster; opened by `_shared_logs`. Lines are first written to `logs.db` in the leading node's
data directory. They survive the loss of that node once their segment has a row in the database.
"""

import asyncio
from typing import Protocol

from sesame.model.clocks import Clocks
from sesame.store.logs.shared.index import SegmentIndex
from sesame.store.logs.shared.objects import SegmentObjects
from sesame.store.logs.shared.segment import Range, Sealed


class Sealer(Protocol):
    """The part of `store.logs.writer.LogWriterProcess` that is used here."""

    async def begin(self, known: list[Range]) -> None: ...
    async def seal(self, done: list[Range]) -> Sealed | None: ...


class Limits(Protocol):
    """The part of `store.logs.intake.Retention` that is used here."""

    @property
    def total_bytes(self) -> int: ...
    @property
    def age_s(self) -> float: ...


class Shipping:
    def __init__(
        self, sealer: Sealer, index: SegmentIndex, objects: SegmentObjects, limits: Limits, clocks: Clocks
    ) -> None:
        self._sealer = sealer
        self._index = index
        self._objects = objects
        self._limits = limits
        self._clocks = clocks
        self._turn = asyncio.Lock()
        # Rows that are in the bucket, of which the process has not been told.
        self._done: list[Range] = []
        self._begun = False

    async def ship(self) -> None:
        """On return all lines that were in the file are in the bucket. Raises `PlatformError`."""
        async with self._turn:
            if not self._begun:
                await self._sealer.begin(await self._index.ranges())
                self._begun = True
            while True:
                sealed = await self._sealer.seal(self._done)
                self._done = []
                if sealed is None:
                    return
                segment = sealed.segment
                await self._objects.put(segment.digest, sealed.data)
                await self._index.add(segment)
                self._done = [segment.ids]

    async def expire(self) -> None:
        """Deletes segments that are older or more than the settings keep. Raises `PlatformError`."""
        before_ms = int((self._clocks.wall() - self._limits.age_s) * 1000)
        await self._index.expire(before_ms, self._limits.total_bytes)
        await self._objects.clean()
