"""The database rows of a cluster's log segments in the bucket, written only by the writer.

Used by `shipping` and `copying`. No row is written in a past epoch, because `Database.write` refuses that.
"""

from collections.abc import Callable, Sequence

import msgspec
import sqlalchemy as sa

from sesame.store.logs.shared import objects
from sesame.store.logs.shared.merging import Indexed
from sesame.store.logs.shared.sealing import NUMBERS
from sesame.store.logs.shared.segment import Owner, Range, Segment
from sesame.store.logs.writer import Numbering
from sesame.store.sql.database import Database
from sesame.store.sql.log_schema import log_segments
from sesame.store.sql.numbers import at_time, keep_ahead, reserve

# The counter from which the next writer numbers its rows.
NEXT_ID = "log_ids"
# Faster than any process writes rows, so that an earlier process, which reserves no more, never catches up.
# With the line's number in the low bits (`reader.LINE_BITS`), below 62 bits (`logstores.history`) until the year 2093.
IDS_PER_SECOND = 1 << 14
AT_ONCE = 500

_columns = log_segments.c
_encode = msgspec.msgpack.Encoder().encode
_decode_owners = msgspec.msgpack.Decoder(tuple[Owner, ...]).decode


class SegmentIndex:
    """`wall` in Unix seconds. Every method raises `PlatformError` if the database does not answer."""

    def __init__(self, database: Database, epoch: int, wall: Callable[[], float]) -> None:
        self._database = database
        self._epoch = epoch
        self._wall = wall

    async def reserve(self) -> Numbering:
        """Reserves row numbers for this writer: no other has, or will have, numbers from there on.

        Times continue from those of earlier writers, even if this node's clock is behind.
        """
        first = max(NUMBERS, at_time(self._wall(), IDS_PER_SECOND))

        def act(connection: sa.Connection) -> Numbering:
            newest = connection.execute(sa.select(sa.func.coalesce(sa.func.max(_columns.last_ms), 0))).scalar_one()
            return Numbering(reserve(connection, NEXT_ID, first, NUMBERS), int(newest))

        return await self._database.write(act)

    async def add(self, segment: Segment) -> None:
        """Adds the row of an uploaded segment. Idempotent."""
        row = self._row(segment)

        def act(connection: sa.Connection) -> None:
            objects.take(connection, segment.digest)
            known = connection.execute(sa.select(_columns.number).where(_columns.digest == segment.digest)).first()
            if known is None:
                connection.execute(sa.insert(log_segments), row)
            # The next writer starts far enough ahead that no row still to be sealed here gets the same number.
            keep_ahead(connection, NEXT_ID, segment.ids.end + NUMBERS // 2)

        await self._database.write(act)

    async def has(self, digest: str) -> bool:
        """As `objects.has`."""
        return await self._database.read(lambda connection: objects.has(connection, log_segments, digest))

    async def newest(self, before: int | None = None) -> list[Indexed[Segment]]:
        """The newest segments, or those below that number, the newest first."""
        wanted = sa.select(log_segments).order_by(_columns.number.desc()).limit(AT_ONCE)
        chosen = wanted if before is None else wanted.where(_columns.number < before)
        return await self._database.read(lambda connection: [_indexed(row) for row in connection.execute(chosen)])

    async def all(self) -> list[Indexed[Segment]]:
        """As `merging.Index`."""
        return await self._database.read(segments_of)

    async def replace(self, former: Sequence[Indexed[Segment]], joined: Segment) -> bool:
        """As `merging.Index`."""
        row = self._row(joined)
        return await self._database.write(
            lambda connection: objects.replace(connection, log_segments, former, row, self._wall())
        )

    def _row(self, segment: Segment) -> dict[str, object]:
        return {
            "digest": segment.digest,
            "epoch": self._epoch,
            "first_id": segment.ids.first,
            "end_id": segment.ids.end,
            "first_ms": segment.first_ms,
            "last_ms": segment.last_ms,
            "size_bytes": segment.size,
            "owners": _encode(segment.owners),
        }

    async def ranges(self) -> list[Range]:
        """The row numbers that are in segments, in order."""

        def act(connection: sa.Connection) -> list[Range]:
            joined: list[Range] = []
            for first, end in connection.execute(
                sa.select(_columns.first_id, _columns.end_id).order_by(_columns.first_id)
            ):
                if joined and joined[-1].end >= first:
                    joined[-1] = Range(joined[-1].first, max(end, joined[-1].end))
                else:
                    joined.append(Range(first, end))
            return joined

        return await self._database.read(act)

    async def expire(self, before_ms: int, size_max: int) -> int:
        """Deletes rows of segments that are too old, and of the oldest beyond the size; returns their number."""
        at, expired = self._wall(), 0
        while removed := await self._database.write(lambda connection: _expire(connection, before_ms, size_max, at)):
            expired += removed
        return expired


def segments_of(connection: sa.Connection) -> list[Indexed[Segment]]:
    """In the order in which they were added."""
    return [_indexed(row) for row in connection.execute(sa.select(log_segments).order_by(_columns.number))]


def _indexed(row: "sa.Row[tuple[object, ...]]") -> Indexed[Segment]:
    each = row._mapping
    ids = Range(each["first_id"], each["end_id"])
    return Indexed(
        each["number"],
        Segment(
            each["digest"],
            ids,
            each["first_ms"],
            each["last_ms"],
            each["size_bytes"],
            _decode_owners(each["owners"]),
        ),
    )


def _expire(connection: sa.Connection, before_ms: int, size_max: int, at: float) -> int:
    """Deletes some of them; returns 0 if none is left."""
    held = int(connection.execute(sa.select(sa.func.coalesce(sa.func.sum(_columns.size_bytes), 0))).scalar_one())
    oldest = sa.select(_columns.number, _columns.digest, _columns.last_ms, _columns.size_bytes)
    gone: list[tuple[int, str]] = []
    for number, digest, last_ms, size in connection.execute(oldest.order_by(_columns.number).limit(AT_ONCE)):
        if last_ms >= before_ms and held <= size_max:
            break
        held -= size
        gone.append((number, digest))
    if gone:
        connection.execute(sa.delete(log_segments).where(_columns.number <= gone[-1][0]))
        objects.remove(connection, [digest for _number, digest in gone], at)
    return len(gone)
