"""Merges small segments in the bucket as they age: each is an object and a row, which a new leader must fetch.

Run by the writer of a cluster once it has all of them. The merged segment is uploaded first, then its row replaces
the others' in one transaction. Their objects are deleted later, for readers that have read the rows but not the
objects.
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

# The segments of 5 minutes, while functions write all the time, are merged at a time.
MERGE_EVERY_S = 300.0
JOINED_MAX = 64


class Sized(Protocol):
    """A segment, with the bytes of its logs; 0 if unknown."""

    @property
    def digest(self) -> str: ...
    @property
    def size(self) -> int: ...


S = TypeVar("S", bound=Sized)


class Indexed(msgspec.Struct, Generic[S], frozen=True):
    """A segment with a row in the database; `number` increases with each."""

    number: int
    segment: S


class Index(Protocol[S]):
    async def all(self) -> list[Indexed[S]]:
        """In the order of their numbers."""
        ...

    async def has(self, digest: str) -> bool: ...
    async def replace(self, former: Sequence[Indexed[S]], joined: S) -> bool:
        """Replaces several rows by one; returns False, without a change, if one of them is gone."""
        ...


class How(msgspec.Struct, Generic[S], frozen=True):
    """`size_max` in bytes of logs. `follow(former, later)`: whether no later addition belongs between the two.

    `join` gets segments with their bytes, in order, and raises `Damaged`; returns None if none of their logs is kept.
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
        # Unreadable segments; the code that copies them reports them.
        self._damaged: set[str] = set()

    async def run(self, clocks: Clocks) -> None:
        """Never returns. Logs a failure once, and retries the next time."""
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
        """Merges what is due; returns the number of merged segments. Raises `PlatformError`."""
        there = await self._index.all()
        self._damaged &= {each.segment.digest for each in there}
        known = [each for each in there if each.segment.digest not in self._damaged]
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
        # The result may equal one of them: an object with a row must not be announced, or it would be given up.
        if whole.digest not in {each.digest for each in segments}:
            await self._objects.put(whole.digest, joined_data)
        return await self._index.replace(run, whole)


def _damaged(digests: Sequence[str], data: Sequence[bytes]) -> list[str]:
    """Those whose bytes have changed, or all, if they cannot be decoded."""
    found: list[str] = []
    for digest, each in zip(digests, data, strict=True):
        try:
            require_whole(digest, each)
        except Damaged:
            found.append(digest)
    return found or list(digests)


def to_join(segments: Sequence[Indexed[S]], how: How[S]) -> list[list[Indexed[S]]]:
    """Runs of segments, each to be merged into one.

    POLICY: at the end, where new segments arrive, a segment is merged with the later ones once they are as large in
    total. So each byte is rewritten only when the amount has doubled. Before a gap, where no segments will
    arrive, all that fit are merged.
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
