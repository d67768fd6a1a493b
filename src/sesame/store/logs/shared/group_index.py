"""The database rows of the segments with groups of the Log Service in the bucket, written only by the writer.

Used by `store.logs.logstores.shared_groups`. As `index`, for logs with the retention of their logstores.
"""

import functools
from collections.abc import Callable, Mapping, Sequence

import msgspec
import sqlalchemy as sa

from sesame.store.logs.logstores.bucket_groups import GroupSegment, Part, kept
from sesame.store.logs.shared import objects
from sesame.store.logs.shared.merging import Indexed
from sesame.store.sql.database import Database
from sesame.store.sql.log_schema import group_segments

AT_ONCE = 500

_columns = group_segments.c
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(tuple[Part, ...]).decode


class GroupIndex:
    """`wall` in Unix seconds. Every method raises `PlatformError` if the database does not answer."""

    def __init__(self, database: Database, epoch: int, wall: Callable[[], float]) -> None:
        self._database = database
        self._epoch = epoch
        self._wall = wall

    async def add(self, segment: GroupSegment) -> None:
        """Adds the row of an uploaded segment. Idempotent."""
        row = self._row(segment)

        def act(connection: sa.Connection) -> None:
            objects.take(connection, segment.digest)
            known = connection.execute(sa.select(_columns.number).where(_columns.digest == segment.digest)).first()
            if known is None:
                connection.execute(sa.insert(group_segments), row)

        await self._database.write(act)

    async def has(self, digest: str) -> bool:
        """As `objects.has`."""
        return await self._database.read(lambda connection: objects.has(connection, group_segments, digest))

    async def all(self) -> list[Indexed[GroupSegment]]:
        """As `merging.Index`."""
        return await self._database.read(segments_of)

    async def replace(self, former: Sequence[Indexed[GroupSegment]], joined: GroupSegment) -> bool:
        """As `merging.Index`."""
        row = self._row(joined)
        return await self._database.write(
            lambda connection: objects.replace(connection, group_segments, former, row, self._wall())
        )

    def _row(self, segment: GroupSegment) -> dict[str, object]:
        return {"digest": segment.digest, "epoch": self._epoch, "parts": _encode(segment.parts)}

    async def page(self, after: int = 0) -> list[Indexed[GroupSegment]]:
        """Some that come after that number, in the order in which they were added."""
        return await self._database.read(functools.partial(segments_of, after=after, most=AT_ONCE))

    async def expire(self, oldest_s: Mapping[int, int]) -> None:
        """Deletes rows whose groups have all expired. Logstores not in `oldest_s` are deleted."""
        after = 0
        while page := await self.page(after):
            after = page[-1].number
            expired = [
                (each.number, each.segment.digest)
                for each in page
                if not any(kept(part, oldest_s) for part in each.segment.parts)
            ]
            if expired:
                await self._database.write(functools.partial(self._remove, expired))

    def _remove(self, gone: list[tuple[int, str]], connection: sa.Connection) -> None:
        numbers = [number for number, _digest in gone]
        connection.execute(sa.delete(group_segments).where(_columns.number.in_(numbers)))
        objects.remove(connection, [digest for _number, digest in gone], self._wall())


def segments_of(connection: sa.Connection, after: int = 0, most: int | None = None) -> list[Indexed[GroupSegment]]:
    """At most `most` that come after that number, in the order in which they were added."""
    wanted = sa.select(_columns.number, _columns.digest, _columns.parts).where(_columns.number > after)
    found = connection.execute(wanted.order_by(_columns.number).limit(most))
    return [Indexed(number, GroupSegment(digest, _decode(parts))) for number, digest, parts in found]
