"""Tracks which rows of `logs.db` are in a cluster's bucket, and which came from there.

Used by the log writer process, on the connection of `store.logs.file.LogWriter`. Each row of a cluster's log has the
same number on every node: a writer numbers its rows from where the database let it start.
"""

from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from sesame.store.logs.file import BUSY_TIMEOUT_S, LogWriter, SourceKey, version_of
from sesame.store.logs.shared.segment import (
    SEGMENT_BYTES,
    Content,
    Damaged,
    Numbered,
    Range,
    Sealed,
    Segment,
    opened,
    seal,
)
from sesame.store.sql import sqlite_file

# How many rows each writer may number. Rows below that belong to a single Sesame, and are not uploaded.
NUMBERS = 1 << 26
# The version of the file that first had each table.
_SINCE = {"sealed": 3, "held": 4}
_BEYOND_ALL = (1 << 63) - 1

_COLUMNS = f"chunks.id, batch_ms, source, request_id, at_ms, marks, data, {', '.join(SourceKey._fields)}"
_UNSEALED = (
    f"SELECT {_COLUMNS} FROM chunks CROSS JOIN sources ON sources.id = chunks.source "
    "WHERE chunks.id >= ? AND chunks.id < ? ORDER BY chunks.id"
)
_SOURCE, _KEY = 2, 7


class Sealing:
    """Raises sqlite_file.Error if the file fails; then nothing has changed."""

    def __init__(self, writer: LogWriter) -> None:
        self._writer = writer

    def begin(self, known: Sequence[Range]) -> None:
        """Marks exactly the ranges that the database knows as sealed; all other rows are sealed again.

        A node may have been killed before it recorded an upload, or may have recorded one that a restored database
        does not know. Rows before all known ones are too old for the database.
        """
        db = self._writer.connection
        with sqlite_file.transaction(db):
            first = known[0].first if known else 0
            db.execute("DELETE FROM sealed WHERE first_id >= ?", (first,))
            db.execute("UPDATE sealed SET end_id = min(end_id, ?)", (first,))
            for each in known:
                _mark(db, "sealed", each)

    def mark(self, done: Sequence[Range]) -> None:
        """Records that these local rows are in the bucket."""
        if done:
            with sqlite_file.transaction(self._writer.connection):
                for each in done:
                    _mark_here(self._writer.connection, each)

    def next(self) -> Sealed | None:
        """The oldest rows that are in no segment, as many as one can hold; None if there are none."""
        db = self._writer.connection
        start = NUMBERS
        for first, end in [*db.execute("SELECT first_id, end_id FROM sealed ORDER BY first_id"), (_BEYOND_ALL, 0)]:
            if start < first and (found := _sealed(db, start, first)) is not None:
                return found
            start = end
        return None

    def here(self) -> list[Range]:
        """The bucket's rows that were written, or copied, here, in order."""
        return [Range(*row) for row in self._writer.connection.execute("SELECT * FROM held ORDER BY first_id")]

    def take(self, segment: Segment, data: bytes | None) -> str:
        """Copies the rows. If the segment is damaged, returns the reason, and inserts a note in place of its lines.

        `data` is None if the bucket does not have the segment.
        """
        problem = "" if data is not None else "it is not in the bucket"
        rows: list[tuple[Numbered, SourceKey]] = []
        if data is not None:
            try:
                content = opened(segment.digest, data)
                rows = [(row, content.sources[row.source]) for row in content.rows]
            except Damaged as error:
                problem = str(error)
        if problem:
            rows = _notes(segment, problem)

        def also(db: sqlite_file.Connection) -> None:
            _mark_here(db, segment.ids)

        self._writer.adopt(rows, also)
        return problem


def unseal(path: Path) -> None:
    """For a copy of the file with another bucket, which has none of its rows."""
    if path.exists():
        with closing(sqlite_file.open_for_writing(path, BUSY_TIMEOUT_S)) as db:
            version = version_of(db)
            db.executescript("".join(f"DELETE FROM {name};" for name, since in _SINCE.items() if version >= since))


def _sealed(db: sqlite_file.Connection, first: int, end: int) -> Sealed | None:
    numbers: dict[int, int] = {}
    sources: list[SourceKey] = []
    rows: list[Numbered] = []
    size = 0
    found = db.execute(_UNSEALED, (first, end))
    for row in found:
        if row[_SOURCE] not in numbers:
            numbers[row[_SOURCE]] = len(sources)
            sources.append(SourceKey(*row[_KEY:]))
        row_id, batch_ms, source, *rest = row[:_KEY]
        rows.append(Numbered(row_id, batch_ms, numbers[source], *rest))
        size += len(rows[-1].data)
        if size >= SEGMENT_BYTES:
            break
    found.close()
    return seal(Content(sources, rows)) if rows else None


def _mark_here(db: sqlite_file.Connection, ids: Range) -> None:
    _mark(db, "sealed", ids)
    _mark(db, "held", ids)


def _mark(db: sqlite_file.Connection, table: str, new: Range) -> None:
    """Merges the range with those that it touches, so that there are few."""
    touching = (new.end, new.first)
    condition = "WHERE first_id <= ? AND end_id >= ?"
    first, end = db.execute(f"SELECT min(first_id), max(end_id) FROM {table} {condition}", touching).fetchone()
    if first is not None:
        db.execute(f"DELETE FROM {table} {condition}", touching)
        new = Range(min(first, new.first), max(end, new.end))
    db.execute(f"INSERT INTO {table} (first_id, end_id) VALUES (?, ?)", (new.first, new.end))


def _notes(segment: Segment, problem: str) -> list[tuple[Numbered, SourceKey]]:
    """A line for each function with lines in the segment, in place of its first ones."""
    text = (
        f"[sesame] lines of about {max(segment.last_ms - segment.first_ms, 1000) / 1000:.0f} s are missing here: "
        f"segment {segment.digest} of the log cannot be read: {problem}\n"
    )
    notes: list[tuple[Numbered, SourceKey]] = []
    for number, (service, function) in enumerate(segment.owners):
        row: Any = (segment.ids.first + number, segment.first_ms, 0, "", segment.first_ms, None, text.encode())
        notes.append((Numbered(*row), SourceKey(service, function, "", "", "", "")))
    return notes
