"""Which segments a cluster's log has in the bucket: rows of the database, written by the writer alone.

Used by `shipping` and `copying`. No row is written in an epoch that is over, as `Database.write` refuses that. An
object is announced in the outbox before it is put, so that one that gets no row is deleted in the end.
"""

from collections.abc import Callable, Sequence

import msgspec
import sqlalchemy as sa

from sesame.store import outbox
from sesame.store.logs.shared.sealing import NUMBERS
from sesame.store.logs.shared.segment import Owner, Range, Segment
from sesame.store.sql.database import Database
from sesame.store.sql.log_schema import log_segments
from sesame.store.sql.numbers import keep_ahead, reserve

# From this number on the next writer numbers its rows.
NEXT_ID = "log_ids"
# A segment that was announced so long ago and has no row will have none.
GIVEN_UP_S = 86400.0
AT_ONCE = 500

_columns = log_segments.c
_encode = msgspec.msgpack.Encoder().encode
_decode_owners = msgspec.msgpack.Decoder(tuple[Owner, ...]).decode


class Indexed(msgspec.Struct, frozen=True):
    """`number` rises with each row."""

    number: int
    segment: Segment


class SegmentIndex:
    """`wall` in Unix seconds. Every method raises `PlatformError` where the database does not answer."""

    def __init__(self, database: Database, epoch: int, wall: Callable[[], float]) -> None:
        self._database = database
        self._epoch = epoch
        self._wall = wall

    async def reserve(self) -> int:
        """From which number on this writer may number its rows: no other has, or will have, numbers from there on."""
        return await self._database.write(lambda connection: reserve(connection, NEXT_ID, NUMBERS, NUMBERS))

    async def announce(self, digest: str) -> None:
        """On return it is committed that the object may be there."""
        at = self._wall()
        await self._database.write(lambda connection: outbox.add(connection, outbox.SEGMENT_ANNOUNCED, [digest], at))

    async def add(self, segment: Segment) -> None:
        """The object is there. Idempotent."""
        row = {
            "digest": segment.digest,
            "epoch": self._epoch,
            "first_id": segment.ids.first,
            "end_id": segment.ids.end,
            "first_ms": segment.first_ms,
            "last_ms": segment.last_ms,
            "size_bytes": segment.size,
            "owners": _encode(segment.owners),
        }

        def act(connection: sa.Connection) -> None:
            outbox.remove(connection, outbox.SEGMENT_ANNOUNCED, [segment.digest])
            known = connection.execute(sa.select(_columns.number).where(_columns.digest == segment.digest)).first()
            if known is None:
                connection.execute(sa.insert(log_segments), row)
            # The next writer begins so far behind that nothing that this one has not sealed yet gets there.
            keep_ahead(connection, NEXT_ID, segment.ids.end + NUMBERS // 2)

        await self._database.write(act)

    async def newest(self, before: int | None = None) -> list[Indexed]:
        """Those that were added last, the newest first, or the ones below that number."""
        wanted = sa.select(log_segments).order_by(_columns.number.desc()).limit(AT_ONCE)
        chosen = wanted if before is None else wanted.where(_columns.number < before)
        return await self._database.read(lambda connection: [_indexed(row) for row in connection.execute(chosen)])

    async def ranges(self) -> list[Range]:
        """The numbers of all rows that are in segments, in order."""

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
        """Removes the rows of segments that are older, and of the oldest beyond the size; how many."""
        at, gone = self._wall(), 0
        while removed := await self._database.write(lambda connection: _expire(connection, before_ms, size_max, at)):
            gone += removed
        return gone

    async def give_up(self) -> None:
        """What was announced long ago is to be deleted."""
        before, at = self._wall() - GIVEN_UP_S, self._wall()

        def act(connection: sa.Connection) -> None:
            found = outbox.pending(connection, outbox.SEGMENT_ANNOUNCED, AT_ONCE)
            _remove_objects(connection, [each.subject for each in found if each.created_at <= before], at)
            outbox.remove_each(connection, [each for each in found if each.created_at <= before])

        await self._database.write(act)

    async def to_delete(self) -> list[str]:
        """Digests of objects that no row mentions any more."""

        def act(connection: sa.Connection) -> list[str]:
            return [each.subject for each in outbox.pending(connection, outbox.SEGMENT_REMOVED, AT_ONCE)]

        return await self._database.read(act)

    async def deleted(self, digests: Sequence[str]) -> None:
        await self._database.write(lambda connection: outbox.remove(connection, outbox.SEGMENT_REMOVED, digests))


def _indexed(row: "sa.Row[tuple[object, ...]]") -> Indexed:
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
    """Some of them, and 0 when none is left."""
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
        _remove_objects(connection, [digest for _number, digest in gone], at)
    return len(gone)


def _remove_objects(connection: sa.Connection, digests: Sequence[str], at: float) -> None:
    outbox.add(connection, outbox.SEGMENT_REMOVED, digests, at)
