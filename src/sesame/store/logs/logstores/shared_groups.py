"""Uploads the logs of a cluster's logstores to the bucket, and copies those that other nodes accepted.

Used by `store.LogStorage` for the writer of a cluster. Nothing can be read until all logs of others are here, because a
reader that advances a cursor would skip the missing ones.
"""

import asyncio
import functools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import structlog

from sesame.model.clocks import Clocks
from sesame.model.errors import StoreUnavailable
from sesame.model.logstore import TTL_FOREVER_DAYS
from sesame.store.logs.logstores import bucket_groups
from sesame.store.logs.logstores.bucket_groups import GroupSegment, Part, SealedGroups
from sesame.store.logs.logstores.commits import Commits
from sesame.store.logs.logstores.known import Known
from sesame.store.logs.logstores.reading import Reader
from sesame.store.logs.shared.group_index import GroupIndex
from sesame.store.logs.shared.loops import Bringing, copied
from sesame.store.logs.shared.merging import How, Merging
from sesame.store.logs.shared.objects import SegmentObjects
from sesame.store.logs.shared.progress import Tell
from sesame.store.sql import sqlite_file

# POLICY: how long reads wait for missing logs before they are refused with an error that asks to retry.
READS_WAIT_S = 20.0
DAY_S = 86_400

log = structlog.get_logger(__name__)


class SharedGroups:
    def __init__(self, index: GroupIndex, objects: SegmentObjects, path: Path, clocks: Clocks, tell: Tell) -> None:
        """`path` of the file of the logstores. `tell` is told up to when its logs are in the bucket."""
        self._index = index
        self._objects = objects
        self._reader = Reader(path)
        self._clocks = clocks
        self._commits: Commits | None = None
        self._logstores: Callable[[], Sequence[Known]] = lambda: ()
        self._turn = asyncio.Lock()
        self._whole = asyncio.Event()
        # For each logstore, the number of the next group when all earlier ones were uploaded, and the reported topics.
        self._brought: dict[int, int] = {}
        self._told: dict[int, set[str]] = {}
        # Groups added later stay later: nothing else belongs between two that were added.
        how = How(bucket_groups.SEGMENT_BYTES, lambda _former, _later: True, self._join)
        self.merging = Merging(index, objects, how)
        self._bringing = Bringing(self.bring, "logs of logstores", clocks, tell)

    async def begin(self, commits: Commits, logstores: Callable[[], Sequence[Known]]) -> None:
        """Call once numbers are reserved, before the first log."""
        self._commits, self._logstores = commits, logstores
        await commits.ask(bucket_groups.begin)

    async def whole(self) -> None:
        """Returns when all logs are here. Raises `StoreUnavailable` if that takes too long."""
        if not self._whole.is_set():
            try:
                async with asyncio.timeout(READS_WAIT_S):
                    await self._whole.wait()
            except TimeoutError:
                raise StoreUnavailable(
                    "logs that other nodes took are being copied to this one: ask again in a while"
                ) from None

    async def settled(self) -> None:
        """Returns when all logs are here, however long that takes."""
        await self._whole.wait()

    async def copy_for_ever(self) -> None:
        """Copies until all logs are here, after which nobody else writes; then keeps merging small segments."""
        if not self._whole.is_set():
            await copied(self.copy, "logs of logstores", self._clocks)
        await self.merging.run(self._clocks)

    async def copy(self) -> int:
        """Copies missing segments, the oldest first; returns their number. Raises `PlatformError`."""
        assert self._commits is not None
        here = await self._commits.ask(bucket_groups.here)
        count, after, parts = 0, 0, list[Part]()
        while page := await self._index.page(after):
            after = page[-1].number
            parts += [part for each in page for part in each.segment.parts]
            wanted = [each.segment for each in page if not bucket_groups.is_here(each.segment, here)]
            async for segment, fetched in self._objects.fetched(wanted, self._index):
                if not fetched.forgotten:
                    count += 1
                    await self._take(segment, fetched.data)
        await self._commits.ask(lambda db: bucket_groups.keep(db, parts))
        self._whole.set()
        return count

    async def bring_for_ever(self) -> None:
        # Only after it is known what is in the bucket.
        await self._whole.wait()
        await self._bringing.run()

    async def bring(self) -> None:
        """On return all groups that were in the file are in the bucket. Raises `PlatformError`."""
        assert self._commits is not None
        async with self._turn:
            while (found := await asyncio.to_thread(self._sealed)) is not None:
                segment = found.segment
                await self._objects.put(segment.digest, found.data)
                await self._index.add(segment)
                await self._commits.ask(functools.partial(_mark, segment))
                for part in segment.parts:
                    self._told.setdefault(part.logstore, set()).update(part.topics)

    async def close(self) -> None:
        """Uploads the last logs too, if the bucket accepts them soon."""
        if self._commits is not None and self._whole.is_set():
            await self._bringing.close()

    async def expire(self) -> None:
        """Deletes expired logs from the bucket. Raises `PlatformError`."""
        await self._index.expire(self._oldest_s())
        await self._objects.clean()

    def _sealed(self) -> SealedGroups | None:
        """Runs on a thread."""
        with self._reader.connection() as db:
            found = bucket_groups.next_groups(db)
            changed = [logstore for logstore, number in found.items() if self._brought.get(logstore) != number]
            new = {each: bucket_groups.topics(db, each) - self._told.get(each, set()) for each in changed}
            sealed = bucket_groups.sealed(db, changed, new)
        if sealed is None:
            self._brought = found
        return sealed

    async def _join(self, segments: Sequence[GroupSegment], data: Sequence[bytes]) -> tuple[GroupSegment, bytes] | None:
        return await asyncio.to_thread(bucket_groups.joined, segments, data, self._oldest_s())

    async def _take(self, segment: GroupSegment, data: bytes | None) -> None:
        assert self._commits is not None
        problem = await self._commits.ask(functools.partial(_take, segment, data, self._oldest_s()))
        if problem:
            numbers = {part.logstore for part in segment.parts}
            lost = [f"{each.logstore.project}/{each.logstore.name}" for each in self._logstores() if each.id in numbers]
            log.error("a segment of logs is lost", digest=segment.digest, problem=problem, logstores=lost)

    def _oldest_s(self) -> dict[int, int]:
        """For each logstore, the receive time before which its logs are expired."""
        now_s = int(self._clocks.wall())
        return {
            each.id: now_s - each.logstore.ttl_days * DAY_S if 0 < each.logstore.ttl_days < TTL_FOREVER_DAYS else 0
            for each in self._logstores()
        }


def _mark(segment: GroupSegment, db: sqlite_file.Connection) -> None:
    bucket_groups.mark(db, segment)


def _take(segment: GroupSegment, data: bytes | None, oldest_s: Mapping[int, int], db: sqlite_file.Connection) -> str:
    return bucket_groups.take(db, segment, data, oldest_s)
