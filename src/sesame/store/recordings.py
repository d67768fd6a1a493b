"""Stores recorded calls, limited by bytes and age; the oldest are deleted first.

Opened by `app`; written by `control.recorder` at the end of calls, read by the operations on recordings. One commit
writes many recordings; the caller may wait for it.
"""

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import msgspec
import sqlalchemy as sa
import structlog

from sesame.model.errors import RECORDING, NotFound
from sesame.model.recording import Recording, RecordingSummary
from sesame.store.sql.database import Database
from sesame.store.sql.recording_schema import recordings

# POLICY: beyond this, recordings that wait to be written are dropped, so that a slow disk does not fill the memory.
WAITING_BYTES_MAX = 16 * 1024 * 1024
ROWS_AT_ONCE = 200
LIST_MAX = 100

log = structlog.get_logger(__name__)
_columns = recordings.c
_SUMMARY = [_columns[name] for name in RecordingSummary.__struct_fields__]


class Kept(msgspec.Struct, frozen=True):
    """The limits: beyond `total_bytes` the oldest are deleted; none is kept for longer than `age_s`."""

    total_bytes: int
    age_s: float


class RecordingsOf(msgspec.Struct, frozen=True):
    """Selects recordings: all, a service's or a function's; older than the sequence number `before`."""

    service: str = ""
    function: str = ""
    before: int | None = None
    limit: int = LIST_MAX


class _Taken(NamedTuple):
    row: dict[str, object]
    size_bytes: int
    done: "asyncio.Future[None]"


class Recordings:
    """Belongs to one event loop."""

    def __init__(self, database: Database, kept: Kept, wall: Callable[[], float]) -> None:
        self._database = database
        self._kept = kept
        self._wall = wall
        self._waiting: list[_Taken] = []
        self._waiting_bytes = 0
        self._writing: asyncio.Task[None] | None = None
        # Changed only on the writer's thread, which makes one change at a time.
        self._total_bytes = 0
        # Recordings that were dropped because too much waited to be written.
        self.dropped = 0

    async def open(self) -> None:
        self._total_bytes = await self._database.load(_total)
        self._database.on_return(_total, self._counted)

    async def close(self) -> None:
        """On return all recordings that were taken are written."""
        if self._writing is not None:
            # Not awaited itself: a caller that is cancelled would cancel the writing.
            await asyncio.wait({self._writing})

    def take(self, recording: Recording) -> "asyncio.Future[None]":
        """Returns at once; call on the event loop. The future is done when the recording is written or given up."""
        done = asyncio.get_running_loop().create_future()
        document = msgspec.msgpack.encode(recording)
        size = len(document)
        if self._waiting_bytes + size > WAITING_BYTES_MAX:
            if not self.dropped:
                log.warning("calls come faster than recordings can be written: some are not recorded")
            self.dropped += 1
            done.set_result(None)
            return done
        row = {
            "request_id": recording.request_id, "recorded_at": recording.recorded_at, "service": recording.service,
            "function": recording.function, "qualifier": recording.qualifier, "runtime": recording.runtime,
            "error_type": recording.outcome.error_type, "duration_ms": recording.outcome.duration_ms,
            "size_bytes": size, "document": document,
        }  # fmt: skip
        self._waiting.append(_Taken(row, size, done))
        self._waiting_bytes += size
        if self._writing is None:
            self._writing = asyncio.get_running_loop().create_task(self._write())
        return done

    async def find(self, request_id: str) -> Recording:
        """The newest recording of this request. Raises `NotFound`."""
        await self.close()
        newest = sa.select(_columns.document).where(_columns.request_id == request_id)
        newest = newest.order_by(_columns.seq.desc()).limit(1)
        document = await self._database.read(lambda connection: connection.execute(newest).scalar_one_or_none())
        if document is None:
            raise NotFound(RECORDING, request_id)
        return msgspec.msgpack.decode(document, type=Recording)

    async def list(self, wanted: RecordingsOf) -> list[RecordingSummary]:
        """The newest first, at most `limit`."""
        await self.close()
        query = sa.select(*_SUMMARY).where(*_conditions(wanted)).order_by(_columns.seq.desc()).limit(wanted.limit)
        rows = await self._database.read(lambda connection: connection.execute(query).all())
        return [RecordingSummary(**row._mapping) for row in rows]

    async def delete(self, wanted: RecordingsOf) -> int:
        """Deletes the recordings of a service, of a function or of the account, and returns their number."""
        await self.close()
        return await self._delete(sa.delete(recordings).where(*_conditions(wanted)))

    async def prune(self) -> int:
        """Deletes recordings that are too old, and returns their number."""
        oldest = self._wall() - self._kept.age_s
        return await self._delete(sa.delete(recordings).where(_columns.recorded_at < oldest))

    async def _delete(self, statement: sa.Delete) -> int:
        def run(connection: sa.Connection) -> int:
            deleted = connection.execute(statement).rowcount
            self._total_bytes = _total(connection)
            return deleted

        return await self._database.write(run)

    async def _write(self) -> None:
        """Writes until nothing waits. A batch that cannot be written is lost, and the log says so."""
        try:
            while self._waiting:
                batch, self._waiting = self._waiting[:ROWS_AT_ONCE], self._waiting[ROWS_AT_ONCE:]
                added = sum(taken.size_bytes for taken in batch)
                try:
                    await self._database.write(partial(self._insert, [taken.row for taken in batch], added))
                except Exception:
                    log.exception("recordings cannot be written", recordings=len(batch))
                self._waiting_bytes -= added
                for taken in batch:
                    if not taken.done.done():
                        taken.done.set_result(None)
        finally:
            self._writing = None

    def _insert(self, rows: Sequence[dict[str, object]], added: int, connection: sa.Connection) -> None:
        connection.execute(sa.insert(recordings), rows)
        self._total_bytes = self._trim(connection, self._total_bytes + added)

    def _trim(self, connection: sa.Connection, total: int) -> int:
        """Deletes the oldest recordings while there are too many bytes; returns the remaining bytes."""
        while total > self._kept.total_bytes:
            oldest = sa.select(_columns.seq, _columns.size_bytes).order_by(_columns.seq).limit(ROWS_AT_ONCE)
            last = 0
            for seq, size in connection.execute(oldest):
                last, total = seq, total - size
                if total <= self._kept.total_bytes:
                    break
            if not last:
                return 0
            connection.execute(sa.delete(recordings).where(_columns.seq <= last))
        return total

    def _counted(self, total: int) -> None:
        self._total_bytes = total


def _conditions(wanted: RecordingsOf) -> list[sa.ColumnElement[bool]]:
    found: list[sa.ColumnElement[bool]] = []
    if wanted.service:
        found.append(_columns.service == wanted.service)
    if wanted.function:
        found.append(_columns.function == wanted.function)
    if wanted.before is not None:
        found.append(_columns.seq < wanted.before)
    return found


def _total(connection: sa.Connection) -> int:
    return int(connection.execute(sa.select(sa.func.coalesce(sa.func.sum(_columns.size_bytes), 0))).scalar_one())
