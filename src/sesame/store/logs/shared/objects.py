"""Objects of a cluster's logs in the bucket: announced before they are put, deleted once no row mentions them.

Used by the indexes of segments and by who ships them.
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
# A segment that was announced so long ago and has no row will have none.
GIVEN_UP_S = 86400.0
AT_ONCE = 500
# As much as that is in memory.
FETCHED_TOGETHER = 4
# POLICY: who has read the rows of segments has so long to read their objects, although others take their place.
READ_FOR_S = 3600.0


def path_of(digest: str) -> str:
    return f"{FOLDER}/{digest}"


class Objects(Protocol):
    """The part of `store.blobs.bucket.Bucket` that is used here."""

    async def put(self, path: str, data: bytes) -> None: ...
    async def get(self, path: str) -> Piece: ...
    async def delete(self, paths: Collection[str]) -> None: ...


class Index(Protocol):
    """Where the rows of segments are."""

    async def has(self, digest: str) -> bool: ...


class Fetched(NamedTuple):
    """No `data` where the bucket does not have it; `forgotten`: its row had been removed, and it for that."""

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
    """`wall` in Unix seconds. Every method raises `PlatformError` where database or bucket do not answer."""

    def __init__(self, database: Database, bucket: Objects, wall: Callable[[], float]) -> None:
        self._database = database
        self._bucket = bucket
        self._wall = wall
        # Nothing is deleted while it is put.
        self._turn = asyncio.Lock()

    async def put(self, digest: str, data: bytes) -> None:
        """On return it is there; its row takes back the announcement by `take`.

        One that was given up, as the bucket was away for long, is not deleted any more.
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
        """Each of them as `get` gives it, in their order. A few at a time are fetched, and in memory."""
        for start in range(0, len(segments), FETCHED_TOGETHER):
            together = segments[start : start + FETCHED_TOGETHER]
            found = await asyncio.gather(*(self.get(each.digest, index) for each in together))
            for each in zip(together, found, strict=True):
                yield each

    async def clean(self) -> None:
        """Deletes what no row mentions any more, and what was announced long ago and got no row."""
        at = self._wall()
        await self._database.write(lambda connection: _give_up(connection, at))
        while await self._clean_some():
            pass

    async def _clean_some(self) -> bool:
        """Whether there was anything."""
        async with self._turn:
            digests = await self._database.read(functools.partial(_removed, self._wall()))
            if digests:
                await self._bucket.delete([path_of(digest) for digest in digests])
                await self._database.write(functools.partial(_forget, digests))
            return bool(digests)


def take(connection: sa.Connection, digest: str) -> None:
    """In the transaction of the row that mentions it."""
    outbox.remove(connection, outbox.SEGMENT_ANNOUNCED, [digest])


def remove(connection: sa.Connection, digests: Sequence[str], at: float) -> None:
    """In the transaction after which no row mentions them."""
    outbox.add(connection, outbox.SEGMENT_REMOVED, digests, at)


def has(connection: sa.Connection, table: sa.Table, digest: str) -> bool:
    """Whether there is still a row of it: without one, its object goes."""
    return connection.execute(sa.select(table.c.number).where(table.c.digest == digest)).first() is not None


def replace(
    connection: sa.Connection, table: sa.Table, former: Sequence[Numbered], row: Mapping[str, object], at: float
) -> bool:
    """In a transaction: `row` in the place of the last of `former`, whose objects go a while later; False if one is
    gone already. Where the row mentions the object of one of them, that stays."""
    numbers = [each.number for each in former]
    there = sa.select(table.c.number, table.c.digest).where(table.c.number.in_(numbers))
    digests = [digest for _number, digest in connection.execute(there)]
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
    """Those whose time has come; what comes behind many others waits for these."""
    found = outbox.pending(connection, outbox.SEGMENT_REMOVED, AT_ONCE)
    return [each.subject for each in found if each.created_at <= at]


def _forget(digests: Sequence[str], connection: sa.Connection) -> None:
    outbox.remove(connection, outbox.SEGMENT_REMOVED, digests)
