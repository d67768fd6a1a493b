"""What of `logs.db` is in the bucket of a cluster, what is not yet, and what came from there.

Used by the log writer process, on the connection of `store.logs.file.LogWriter`. Each row of a cluster's log has one
number, on every node that has it: a writer numbers its rows from where the database let it begin.
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
    InBucket,
    Numbered,
    Range,
    Sealed,
    Segment,
    opened,
    seal,
)
from sesame.store.sql import sqlite_file

# Each writer may number so many rows. Rows below that are of a Sesame of one machine, and stay where they are.
NUMBERS = 1 << 26
# The version of the file that has the tables.
SHARED_SINCE = 3
_BEYOND_ALL = (1 << 63) - 1

_COLUMNS = f"chunks.id, batch_ms, source, request_id, at_ms, marks, data, {', '.join(SourceKey._fields)}"
_UNSEALED = (
    f"SELECT {_COLUMNS} FROM chunks CROSS JOIN sources ON sources.id = chunks.source "
    "WHERE chunks.id >= ? AND chunks.id < ? ORDER BY chunks.id"
)
_SOURCE, _KEY = 2, 7


class Sealing:
    """Raises sqlite_file.Error where the file fails; then nothing has changed."""

    def __init__(self, writer: LogWriter) -> None:
        self._writer = writer

    def mark(self, done: Sequence[InBucket]) -> None:
        """These rows are in the bucket."""
        if done:
            with sqlite_file.transaction(self._writer.connection):
                for each in done:
                    _mark(self._writer.connection, each)

    def next(self) -> Sealed | None:
        """The oldest rows that are in no segment, as many as one holds; None if there are none."""
        db = self._writer.connection
        start = NUMBERS
        for first, end in [*db.execute("SELECT first_id, end_id FROM sealed ORDER BY first_id"), (_BEYOND_ALL, 0)]:
            if start < first and (found := _sealed(db, start, first)) is not None:
                return found
            start = end
        return None

    def here(self) -> list[str]:
        """The digests of the segments whose rows were written, or taken in, here."""
        return [digest for (digest,) in self._writer.connection.execute("SELECT digest FROM segments")]

    def take(self, segment: Segment, data: bytes | None) -> str:
        """Takes the rows in; returns what is wrong with the segment, whose lines then have a note in their place.

        Without `data`, the bucket does not have it.
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
            _mark(db, InBucket(segment.ids, segment.digest, segment.last_ms))

        self._writer.adopt(rows, also)
        return problem


def unseal(path: Path) -> None:
    """Of a copy of the file for another bucket, which has none of its rows."""
    if path.exists():
        with closing(sqlite_file.open_for_writing(path, BUSY_TIMEOUT_S)) as db:
            if version_of(db) >= SHARED_SINCE:
                db.executescript("DELETE FROM sealed; DELETE FROM segments;")


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


def _mark(db: sqlite_file.Connection, done: InBucket) -> None:
    """Joins it with the ranges that it touches, so that there are few."""
    if done.digest:
        db.execute("INSERT OR IGNORE INTO segments (digest, last_ms) VALUES (?, ?)", (done.digest, done.last_ms))
    new = done.ids
    touching = (new.end, new.first)
    condition = "WHERE first_id <= ? AND end_id >= ?"
    first, end = db.execute(f"SELECT min(first_id), max(end_id) FROM sealed {condition}", touching).fetchone()
    if first is not None:
        db.execute(f"DELETE FROM sealed {condition}", touching)
        new = Range(min(first, new.first), max(end, new.end))
    db.execute("INSERT INTO sealed (first_id, end_id) VALUES (?, ?)", (new.first, new.end))


def _notes(segment: Segment, problem: str) -> list[tuple[Numbered, SourceKey]]:
    """A line for each function that has lines in it, in the place of the first ones."""
    text = (
        f"[sesame] lines of about {max(segment.last_ms - segment.first_ms, 1000) / 1000:.0f} s are missing here: "
        f"segment {segment.digest} of the log cannot be read: {problem}\n"
    )
    notes: list[tuple[Numbered, SourceKey]] = []
    for number, (service, function) in enumerate(segment.owners):
        row: Any = (segment.ids.first + number, segment.first_ms, 0, "", segment.first_ms, None, text.encode())
        notes.append((Numbered(*row), SourceKey(service, function, "", "", "", "")))
    return notes
