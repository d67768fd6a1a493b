"""Reads the file of the logstores: groups by cursor, the tail that is not in segments yet, and topics.

Used by `logstores` and `queries`, on threads: everything here blocks. Each call has a connection of its own.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import msgspec

from sesame.model.errors import Invalid
from sesame.model.logstore import LogGroup
from sesame.store.logs.logstores.file import decoded, open_for_reading
from sesame.store.logs.logstores.interface import PULL_BYTES_MAX, Pulled
from sesame.store.sql import sqlite_file


class NumberedGroup(NamedTuple):
    number: int
    group: LogGroup


class Sealed(NamedTuple):
    """The groups from `first` on and before `end` are in a segment; `document` is None while its file is missing."""

    first: int
    end: int
    rows: int
    document: bytes | None


class Snapshot(msgspec.Struct, frozen=True):
    """What a query over a time reads: the segments, and the groups that are in none."""

    segments: tuple[Sealed, ...]
    tail: tuple[NumberedGroup, ...]


class Reader:
    def __init__(self, path: Path) -> None:
        self._path = path

    def topics(self, logstore: int, after: str | None, most: int) -> list[str]:
        """At most `most` topics, in order, from the first one after `after` on."""
        with self.connection() as db:
            found = db.execute(
                "SELECT topic FROM topics WHERE logstore = ? AND (? IS NULL OR topic > ?) ORDER BY topic LIMIT ?",
                (logstore, after, after, most),
            )
            return [row[0] for row in found]

    def begin(self, logstore: int, shard: int) -> int:
        with self.connection() as db:
            return _edge(db, logstore, shard, "ASC", 0)

    def end(self, logstore: int, shard: int) -> int:
        with self.connection() as db:
            return _edge(db, logstore, shard, "DESC", 1)

    def cursor_at(self, logstore: int, shard: int, received_s: int) -> int:
        with self.connection() as db:
            found = db.execute(
                "SELECT number FROM groups WHERE logstore = ? AND shard = ? AND received_s >= ? "
                "ORDER BY number LIMIT 1",
                (logstore, shard, received_s),
            ).fetchone()
            return int(found[0]) if found else _edge(db, logstore, shard, "DESC", 1)

    def unread(self, logstore: int, cursors: Mapping[int, int]) -> set[int]:
        """Those of the shards that have groups at or after their cursors."""
        behind = "SELECT 1 FROM groups WHERE logstore = ? AND shard = ? AND number >= ? LIMIT 1"
        with self.connection() as db:
            found = ((shard, db.execute(behind, (logstore, shard, at)).fetchone()) for shard, at in cursors.items())
            return {shard for shard, row in found if row}

    def received_at(self, logstore: int, shard: int, cursor: int) -> int | None:
        """When the first group at or after the cursor was received (Unix seconds); None at the end."""
        with self.connection() as db:
            _require_cursor(db, logstore, cursor)
            found = db.execute(
                "SELECT received_s FROM groups WHERE logstore = ? AND shard = ? AND number >= ? "
                "ORDER BY number LIMIT 1",
                (logstore, shard, cursor),
            ).fetchone()
            return int(found[0]) if found else None

    def pull(self, logstore: int, shard: int, cursor: int, count: int, end: int | None) -> Pulled:
        groups: list[LogGroup] = []
        size = 0
        with self.connection() as db:
            _require_cursor(db, logstore, cursor)
            rows = db.execute(
                "SELECT number, data FROM groups WHERE logstore = ? AND shard = ? AND number >= ? AND number < ? "
                "ORDER BY number LIMIT ?",
                (logstore, shard, cursor, _next_group(db, logstore) if end is None else end, count),
            )
            for number, data in rows:
                group = decoded(data)
                size += _size(group)
                if groups and size > PULL_BYTES_MAX:
                    break
                groups.append(group)
                cursor = number + 1
        return Pulled(tuple(groups), cursor)

    def snapshot(self, logstore: int, from_s: int, to_s: int) -> Snapshot:
        """Everything with a log of this time, as of one moment."""
        with self.connection() as db:
            db.execute("BEGIN")
            segments = db.execute(
                "SELECT first_group, end_group, row_count, document FROM segments "
                "WHERE logstore = ? AND first_s < ? AND last_s >= ? ORDER BY first_group",
                (logstore, to_s, from_s),
            ).fetchall()
            found = db.execute("SELECT sealed FROM logstores WHERE id = ?", (logstore,)).fetchone()
            tail = db.execute(
                "SELECT number, data FROM groups WHERE logstore = ? AND number >= ? AND first_s < ? AND last_s >= ? "
                "ORDER BY number",
                (logstore, found[0] if found else 0, to_s, from_s),
            ).fetchall()
            db.execute("ROLLBACK")
        groups = tuple(NumberedGroup(number, decoded(data)) for number, data in tail)
        return Snapshot(tuple(Sealed(*row) for row in segments), groups)

    def around(self, logstore: int, number: int, most: int, *, forward: bool) -> Iterator[NumberedGroup]:
        """At most `most` groups after a group, or before it in backward order."""
        beyond, order = (">", "ASC") if forward else ("<", "DESC")
        with self.connection() as db:
            rows = db.execute(
                f"SELECT number, data FROM groups WHERE logstore = ? AND number {beyond} ? "
                f"ORDER BY number {order} LIMIT ?",
                (logstore, number, most),
            )
            for found, data in rows:
                yield NumberedGroup(found, decoded(data))

    def range(self, logstore: int, first: int, end: int) -> Iterator[NumberedGroup]:
        """The groups from `first` on and before `end` that still exist."""
        with self.connection() as db:
            rows = db.execute(
                "SELECT number, data FROM groups WHERE logstore = ? AND number >= ? AND number < ? ORDER BY number",
                (logstore, first, end),
            )
            for number, data in rows:
                yield NumberedGroup(number, decoded(data))

    def group(self, logstore: int, number: int) -> LogGroup | None:
        with self.connection() as db:
            found = db.execute(
                "SELECT data FROM groups WHERE logstore = ? AND number = ?", (logstore, number)
            ).fetchone()
        return decoded(found[0]) if found else None

    @contextmanager
    def connection(self) -> Iterator[sqlite_file.Connection]:
        db = open_for_reading(self._path)
        # The caller starts its own transactions.
        db.isolation_level = None
        try:
            yield db
        finally:
            db.close()


def _edge(db: sqlite_file.Connection, logstore: int, shard: int, order: str, beyond: int) -> int:
    """The number of a shard's first group, or one after its last; for an empty shard the next group's."""
    found = db.execute(
        f"SELECT number FROM groups WHERE logstore = ? AND shard = ? ORDER BY number {order} LIMIT 1", (logstore, shard)
    ).fetchone()
    return int(found[0]) + beyond if found else _next_group(db, logstore)


def _next_group(db: sqlite_file.Connection, logstore: int) -> int:
    found = db.execute("SELECT next_group FROM logstores WHERE id = ?", (logstore,)).fetchone()
    return int(found[0]) if found else 0


def _require_cursor(db: sqlite_file.Connection, logstore: int, cursor: int) -> None:
    end = _next_group(db, logstore)
    if not 0 <= cursor <= end:
        raise Invalid("cursor", f"0 to {end}", cursor)


def _size(group: LogGroup) -> int:
    """Approximately the bytes of its logs."""
    return sum(len(name) + len(value) for record in group.records for name, value in record.contents)
