"""Objects of a cluster's logs in the bucket: announced before they are put, deleted once no row mentions them.

Used by the indexes of segments and by who ships them.
"""

import asyncio
import functools
from collections.abc import Callable, Collection, Sequence
from typing import NamedTuple, Protocol

import sqlalchemy as sa

from sesame.store import outbox
from sesame.store.blobs.bucket import Piece
from sesame.store.sql.database import Database

FOLDER = "logs"
# A segment that was announced so long ago and has no row will have none.
GIVEN_UP_S = 86400.0
AT_ONCE = 500


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

    async def clean(self) -> None:
        """Deletes what no row mentions any more, and what was announced long ago and got no row."""
        at = self._wall()
        await self._database.write(lambda connection: _give_up(connection, at))
        while await self._clean_some():
            pass

    async def _clean_some(self) -> bool:
        """Whether there was anything."""
        async with self._turn:
            digests = await self._database.read(_removed)
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


def _announce(connection: sa.Connection, digest: str, at: float) -> None:
    for topic in (outbox.SEGMENT_ANNOUNCED, outbox.SEGMENT_REMOVED):
        outbox.remove(connection, topic, [digest])
    outbox.add(connection, outbox.SEGMENT_ANNOUNCED, [digest], at)


def _give_up(connection: sa.Connection, at: float) -> None:
    found = outbox.pending(connection, outbox.SEGMENT_ANNOUNCED, AT_ONCE)
    old = [each for each in found if each.created_at <= at - GIVEN_UP_S]
    remove(connection, [each.subject for each in old], at)
    outbox.remove_each(connection, old)


def _removed(connection: sa.Connection) -> list[str]:
    return [each.subject for each in outbox.pending(connection, outbox.SEGMENT_REMOVED, AT_ONCE)]


def _forget(digests: Sequence[str], connection: sa.Connection) -> None:
    outbox.remove(connection, outbox.SEGMENT_REMOVED, digests)
