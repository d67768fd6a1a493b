"""Joins small segments in the bucket as they age: each is an object and a row, and who begins to lead fetches each.

Run by the writer of a cluster once it has all of them. The joined segment is put first, then its row takes the place
of the others' in one transaction, and their objects go later, for who has read the rows and not yet the objects.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, Protocol, TypeVar

import msgspec
import structlog

from sesame.model.clocks import Clocks
from sesame.model.errors import PlatformError
from sesame.store.logs.shared.objects import SegmentObjects
from sesame.store.logs.shared.segment import Damaged, require_whole

# As many segments as come in 5 min, while functions write all the time, are joined at a time.
MERGE_EVERY_S = 300.0
JOINED_MAX = 64


class Sized(Protocol):
    """A segment, with the bytes of logs in it; 0 where that is not known."""

    @property
    def digest(self) -> str: ...
    @property
    def size(self) -> int: ...


S = TypeVar("S", bound=Sized)


class Indexed(msgspec.Struct, Generic[S], frozen=True):
    """A segment that has a row in the database; `number` rises with each."""

    number: int
    segment: S


class Index(Protocol[S]):
    async def all(self) -> list[Indexed[S]]:
        """In the order of their numbers."""
        ...

    async def has(self, digest: str) -> bool: ...
    async def replace(self, former: Sequence[Indexed[S]], joined: S) -> bool:
        """One row takes the place of several; False, with no change, where one of them is gone."""
        ...


class How(msgspec.Struct, Generic[S], frozen=True):
    """`size_max` in bytes of logs. `follow(former, later)`: whether nothing that comes later belongs between them.

    `join` gets segments with their bytes, in order, and raises `Damaged`; None if nothing of them is kept any more.
    """

    size_max: int
    follow: Callable[[S, S], bool]
    join: Callable[[Sequence[S], Sequence[bytes]], Awaitable[tuple[S, bytes] | None]]


log = structlog.get_logger(__name__)


class Merging(Generic[S]):
    def __init__(self, index: Index[S], objects: SegmentObjects, how: How[S]) -> None:
        self._index = index
        self._objects = objects
        self._how = how
        # Segments that cannot be read; whoever copies them says so.
        self._damaged: set[str] = set()

    async def run(self, clocks: Clocks) -> None:
        """For ever. What fails is told in Sesame's log, once, and done at the next time."""
        failing = False
        while True:
            await clocks.sleep(MERGE_EVERY_S)
            try:
                await self.merge()
                failing = False
            except PlatformError as error:
                if not failing:
                    log.warning("small segments of logs in the bucket are not joined; trying again", error=str(error))
                failing = True

    async def merge(self) -> int:
        """Joins what is to be joined now; returns how many segments that was. Raises `PlatformError`."""
        known = [each for each in await self._index.all() if each.segment.digest not in self._damaged]
        count = 0
        for run in to_join(known, self._how):
            if await self._join(run):
                count += len(run)
        return count

    async def _join(self, run: Sequence[Indexed[S]]) -> bool:
        data: list[bytes] = []
        segments = [each.segment for each in run]
        async for segment, fetched in self._objects.fetched(segments, self._index):
            if fetched.data is None:
                self._damaged.add(segment.digest)
                return False
            data.append(fetched.data)
        try:
            joined = await self._how.join(segments, data)
        except Damaged as damage:
            log.error("segments of logs in the bucket cannot be joined", problem=str(damage))
            self._damaged.update(await asyncio.to_thread(_damaged, [each.digest for each in segments], data))
            return False
        if joined is None:
            return False
        whole, joined_data = joined
        # All that is left may be one of them: an object that has a row is not announced, or it would be given up.
        if whole.digest not in {each.digest for each in segments}:
            await self._objects.put(whole.digest, joined_data)
        return await self._index.replace(run, whole)


def _damaged(digests: Sequence[str], data: Sequence[bytes]) -> list[str]:
    """Those whose bytes are not what was put, or all, as they cannot be decoded."""
    found: list[str] = []
    for digest, each in zip(digests, data, strict=True):
        try:
            require_whole(digest, each)
        except Damaged:
            found.append(digest)
    return found or list(digests)


def to_join(segments: Sequence[Indexed[S]], how: How[S]) -> list[list[Indexed[S]]]:
    """Runs of segments, each to become one.

    POLICY: at the end, where segments come, one is joined with those behind it once they are as large together. So what
    comes is written again each time that there is twice as much, and no more often. Before a gap, where none will come,
    all are joined that fit.
    """
    runs: list[list[Indexed[S]]] = []
    run: list[Indexed[S]] = []
    size, growing = 0, True
    for each in reversed(segments):
        own = each.segment.size
        follows = bool(run) and how.follow(each.segment, run[-1].segment)
        growing = growing and (follows or not run)
        fits = follows and own > 0 and size > 0 and size + own <= how.size_max and len(run) < JOINED_MAX
        if fits and (own <= size or not growing):
            run.append(each)
            size += own
        else:
            runs.append(run)
            run, size = [each], own
    return [run[::-1] for run in (*runs, run) if len(run) > 1]
