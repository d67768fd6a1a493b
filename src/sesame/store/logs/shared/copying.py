"""Copies other nodes' lines from the bucket into this node's `logs.db`, which readers use.

Run in the background when a node begins to lead: the newest segments first, and no more than the settings keep.
"""

from typing import Protocol

import structlog

from sesame.store.logs.shared.merging import Indexed
from sesame.store.logs.shared.objects import SegmentObjects
from sesame.store.logs.shared.segment import Range, Ranges, Segment
from sesame.store.logs.shared.shipping import Limits

log = structlog.get_logger(__name__)


class Taker(Protocol):
    """The part of `store.logs.writer.LogWriterProcess` that is used here."""

    async def take(self, segment: Segment, data: bytes | None) -> str: ...
    async def here(self) -> list[Range]: ...


class Index(Protocol):
    async def has(self, digest: str) -> bool: ...
    async def newest(self, before: int | None = None) -> list[Indexed[Segment]]: ...


class Copying:
    def __init__(self, taker: Taker, index: Index, objects: SegmentObjects, limits: Limits) -> None:
        self._taker = taker
        self._index = index
        self._objects = objects
        self._limits = limits

    async def copy(self) -> int:
        """Copies missing segments; returns their number. Raises `PlatformError`.

        Skips segments that are deleted meanwhile because they are too old.
        """
        here = Ranges(await self._taker.here())
        room, copied, before = self._limits.total_bytes, 0, None
        while page := await self._index.newest(before):
            wanted: list[Segment] = []
            for each in page:
                room -= each.segment.size
                if room >= 0 and each.segment.ids not in here:
                    wanted.append(each.segment)
            async for segment, fetched in self._objects.fetched(wanted, self._index):
                if not fetched.forgotten:
                    copied += 1
                    await self._take(segment, fetched.data)
            before = page[-1].number
            if room < 0:
                break
        return copied

    async def _take(self, segment: Segment, data: bytes | None) -> None:
        if problem := await self._taker.take(segment, data):
            log.error("a segment of the log of functions is lost", digest=segment.digest, problem=problem)
