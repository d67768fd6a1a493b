"""Objects of a cluster's logs in the bucket: announced before they are uploaded, deleted once no row mentions them.

Used by the indexes of segments and by the code that uploads them.
"""

import asyncio
import functools
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from typing import NamedTuple, Protocol, TypeVar

import sqlalchemy as sa

from sesame.store import outbox
from sesame.store.blobs.bucket import Piece
from sesame.store.sql.database import Database

FOLDER = "logs"
# A segment that was announced this long ago and has no row will never get one.
GIVEN_UP_S = 86400.0
AT_ONCE = 500
# Limits the memory used.
FETCHED_TOGETHER = 4
# POLICY: readers of segments' rows have this long to read their objects, even if others replace them.
READ_FOR_S = 3600.0


def path_of(digest: str) -> str:
    return f"{FOLDER}/{digest}"


class Objects(Protocol):
    """The part of `store.blobs.bucket.Bucket` that is used here."""

    async def put(self, path: str, data: bytes) -> None: ...
    async def get(self, path: str) -> Piece: ...
    async def delete(self, paths: Collection[str]) -> None: ...


class Index(Protocol):
    """Stores the rows of segments."""

    async def has(self, digest: str) -> bool: ...


class Fetched(NamedTuple):
    """`data` is None if the object is missing; `forgotten` if that is because its row was deleted."""

    data: bytes | None
    forgotten: bool = False


class Digested(Protocol):
    """A segment."""

    @property
    def digest(self) -> str: ...


D = TypeVar("D", bound=Digested)


class Numbered(Protocol):
    """A segment's row."""

    @property
    def number(self) -> int: ...


class SegmentObjects:
    """`wall` in Unix seconds. Every method raises `PlatformError` if database or bucket do not answer."""

    def __init__(self, database: Database, bucket: Objects, wall: Callable[[], float]) -> None:
        self._database = database
        self._bucket = bucket
        self._wall = wall
        # Nothing is deleted during an upload.
        self._turn = asyncio.Lock()

    async def put(self, digest: str, data: bytes) -> None:
        """On return the object is stored; its row's `take` removes the announcement.

        If the segment had been given up because the bucket was away for long, its deletion is cancelled.
        """
        at = self._wall()
        async with self._turn:
            await self._database.write(lambda connection: _announce(connection, digest, at))
            await self._bucket.put(path_of(digest), data)

    async def get(self, digest: str, index: Index) -> Fetched:
        try:
            return Fetched((await self._bucket.get(path_of(digest))).data)
        except FileNotFoundError:
            return Fetched(None, forgotten=not await index.has(digest))

    async def fetched(self, segments: Sequence[D], index: Index) -> AsyncIterator[tuple[D, Fetched]]:
        """Each segment with the result of `get`, in order. A few at a time are fetched and held in memory."""
        for start in range(0, len(segments), FETCHED_TOGETHER):
            together = segments[start : start + FETCHED_TOGETHER]
            found = await asyncio.gather(*(self.get(each.digest, index) for each in together))
            for each in zip(together, found, strict=True):
                yield each

    async def clean(self) -> None:
        """Deletes objects that no row mentions any more, and those announced long ago that got no row."""
        at = self._wall()
        await self._database.write(lambda connection: _give_up(connection, at))
        while await self._clean_some():
            pass

    async def _clean_some(self) -> bool:
        """Returns whether there was anything to delete."""
        async with self._turn:
            digests = await self._database.read(functools.partial(_removed, self._wall()))
            if digests:
                await self._bucket.delete([path_of(digest) for digest in digests])
                await self._database.write(functools.partial(_forget, digests))
            return bool(digests)


def take(connection: sa.Connection, digest: str) -> None:
    """Call in the transaction of the row that mentions it."""
    outbox.remove(connection, outbox.SEGMENT_ANNOUNCED, [digest])


def remove(connection: sa.Connection, digests: Sequence[str], at: float) -> None:
    """Call in the transaction after which no row mentions them."""
    outbox.add(connection, outbox.SEGMENT_REMOVED, digests, at)


def has(connection: sa.Connection, table: sa.Table, digest: str) -> bool:
    """Whether there is still a row of it: otherwise its object is deleted."""
    return connection.execute(sa.select(table.c.number).where(table.c.digest == digest)).first() is not None


def replace(
    connection: sa.Connection, table: sa.Table, former: Sequence[Numbered], row: Mapping[str, object], at: float
) -> bool:
    """Within a transaction: replaces the last of `former` by `row` and deletes the others; their objects are deleted
    later. Returns False if one is already gone. An object that `row` still mentions stays."""
    numbers = [each.number for each in former]
    stored = sa.select(table.c.number, table.c.digest).where(table.c.number.in_(numbers))
    digests = [digest for _number, digest in connection.execute(stored)]
    if len(digests) < len(numbers):
        return False
    take(connection, str(row["digest"]))
    connection.execute(sa.delete(table).where(table.c.number.in_(numbers[:-1])))
    connection.execute(sa.update(table).where(table.c.number == numbers[-1]).values(**row))
    remove(connection, [each for each in digests if each != row["digest"]], at + READ_FOR_S)
    return True


def _announce(connection: sa.Connection, digest: str, at: float) -> None:
    for topic in (outbox.SEGMENT_ANNOUNCED, outbox.SEGMENT_REMOVED):
        outbox.remove(connection, topic, [digest])
    outbox.add(connection, outbox.SEGMENT_ANNOUNCED, [digest], at)


def _give_up(connection: sa.Connection, at: float) -> None:
    found = outbox.pending(connection, outbox.SEGMENT_ANNOUNCED, AT_ONCE)
    old = [each for each in found if each.created_at <= at - GIVEN_UP_S]
    remove(connection, [each.subject for each in old], at)
    outbox.remove_each(connection, old)


def _removed(at: float, connection: sa.Connection) -> list[str]:
    """Entries that are due; later ones wait behind these."""
    found = outbox.pending(connection, outbox.SEGMENT_REMOVED, AT_ONCE)
    return [each.subject for each in found if each.created_at <= at]


def _forget(digests: Sequence[str], connection: sa.Connection) -> None:
    outbox.remove(connection, outbox.SEGMENT_REMOVED, digests)
