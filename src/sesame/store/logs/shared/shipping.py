"""Brings what functions write in a cluster into the bucket, a few seconds behind, and deletes there what is too old.

Belongs to the writer of a cluster; opened by `_shared_logs`. Lines lie in `logs.db` first, in the data directory of the
node that leads. They are safe from the loss of that node once their segment has its row in the database.
"""

import asyncio
from typing import Protocol

import structlog

from sesame.model.clocks import Clocks
from sesame.model.errors import PlatformError
from sesame.store.logs.shared.index import SegmentIndex
from sesame.store.logs.shared.objects import SegmentObjects
from sesame.store.logs.shared.segment import Range, Sealed

# POLICY: so much of the log may be lost with the node that leads. Each second less would cost as many more objects:
# one in five seconds, each with a row, are 17,280 a day while functions write all the time.
SEAL_EVERY_S = 5.0
# So long a clean stop waits for the bucket; what is not there then is added when the node leads again.
STOP_PATIENCE_S = 10.0

log = structlog.get_logger(__name__)


class Sealer(Protocol):
    """The part of `store.logs.writer.LogWriterProcess` that is used here."""

    async def begin(self, known: list[Range]) -> None: ...
    async def seal(self, done: list[Range]) -> Sealed | None: ...


class Limits(Protocol):
    """As `store.logs.intake.Retention`."""

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
        # Rows that are in the bucket, which the process has not been told.
        self._done: list[Range] = []
        self._begun = False
        self._failing = False

    async def run(self) -> None:
        """For ever."""
        while True:
            await self._clocks.sleep(SEAL_EVERY_S)
            await self.try_to_ship()

    async def try_to_ship(self) -> None:
        """As `ship`; what fails is told in Sesame's log, once, and done at the next try."""
        try:
            await self.ship()
        except PlatformError as error:
            if not self._failing:
                log.warning("lines of functions do not get into the bucket; trying again", error=str(error))
            self._failing = True
        else:
            if self._failing:
                log.info("lines of functions get into the bucket again")
            self._failing = False

    async def ship(self) -> None:
        """On return all that was in the file is in the bucket. Raises `PlatformError`."""
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

    async def close(self) -> None:
        """The last lines too, if the bucket takes them soon."""
        try:
            async with asyncio.timeout(STOP_PATIENCE_S):
                await self.try_to_ship()
        except TimeoutError:
            log.warning("the last lines of functions are not in the bucket; they get there when this node leads again")

    async def expire(self) -> None:
        """Deletes what is older or more than the settings keep. Raises `PlatformError`."""
        before_ms = int((self._clocks.wall() - self._limits.age_s) * 1000)
        await self._index.expire(before_ms, self._limits.total_bytes)
        await self._objects.clean()
