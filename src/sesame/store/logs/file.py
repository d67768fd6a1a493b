"""The file of the logs: one SQLite database of its own, written by one process and read by anybody at any time.

Written by `store.logs.intake`; read by it and, also while no Sesame runs, by the command `sesame logs`.
Never holds a read open for long: a page is read and the file is let go.
"""

import functools
import itertools
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from sesame.model.errors import ConfigurationError
from sesame.store.logs.lines import Chunk, entries
from sesame.store.sql import sqlite_file

SCHEMA_VERSION = 2
BUSY_TIMEOUT_S = 10.0
PAGE_LINES_DEFAULT = 1000
# One statement inserts at most so many rows: the interpreter's lock changes hands once for all of them.
ROWS_TOGETHER = 512
COLUMNS = 6
# One transaction of the retention deletes so many rows, so that what is being written never waits long.
ROWS_DELETED_TOGETHER = 200
# A source's time of last use may be this much behind, which spares a write with each batch.
SOURCE_STALE_MS = 60_000
# Space that retention freed beyond this goes back to the file system, a little at a time.
FREE_BYTES_MAX = 32 * 1024 * 1024
VACUUM_PAGES = 512
# A call that prints two or three KB would leave half of a small page empty; twice as much would be written.
PAGE_BYTES = 16 * 1024
CHECKPOINT_PAGES = 512
# A line's id is its chunk's with the line's number below; a chunk of 64 KiB has fewer lines than this.
_LINE_BITS = 17

_SCHEMA = """
CREATE TABLE sources (
    id INTEGER PRIMARY KEY, last_ms INTEGER NOT NULL,
    service TEXT NOT NULL, function TEXT NOT NULL, version_id TEXT NOT NULL,
    instance_id TEXT NOT NULL, log_project TEXT NOT NULL, logstore TEXT NOT NULL, qualifier TEXT NOT NULL
);
CREATE TABLE chunks (
    id INTEGER PRIMARY KEY AUTOINCREMENT, batch_ms INTEGER NOT NULL, source INTEGER NOT NULL,
    request_id TEXT NOT NULL, at_ms INTEGER NOT NULL, marks BLOB, data BLOB NOT NULL
);
"""
_TO_VERSION_2 = """
BEGIN IMMEDIATE;
ALTER TABLE sources ADD COLUMN qualifier TEXT NOT NULL DEFAULT '';
PRAGMA user_version=2;
COMMIT;
"""


class LogLine(msgspec.Struct, frozen=True):
    """One entry: `time` is in seconds since 1970, exact to the millisecond; `id` rises with each and is a cursor."""

    id: int
    time: float
    service: str
    function: str
    version_id: str
    instance_id: str
    request_id: str
    log_project: str
    logstore: str
    text: str
    qualifier: str = ""


class Query(msgspec.Struct, frozen=True):
    """Which lines: those that match all that is given, at most `limit`, the oldest after `after_id` first.

    `since` (included) and `until` (excluded) are seconds since 1970.
    """

    service: str | None = None
    function: str | None = None
    request_id: str | None = None
    since: float | None = None
    until: float | None = None
    after_id: int = 0
    limit: int = PAGE_LINES_DEFAULT
    qualifier: str | None = None


class SourceKey(NamedTuple):
    service: str
    function: str
    version_id: str
    instance_id: str
    log_project: str
    logstore: str
    qualifier: str = ""


class Row(msgspec.Struct, frozen=True, gc=False):
    """One chunk on its way into the file."""

    source: SourceKey
    request_id: str
    chunk: Chunk


class LogWriter:
    """The only writer. Not safe for use by several threads at a time; `write` and `expire` raise sqlite_file.Error."""

    def __init__(self, path: Path) -> None:
        self._path = path
        # source → its id, and the time of last use that the file knows
        self._known: dict[SourceKey, tuple[int, int]] = {}
        self._batch_ms = 0

    def open(self) -> None:
        """Raises `ConfigurationError` when the file cannot be used."""
        try:
            self._connection = db = sqlite_file.open_for_writing(self._path, BUSY_TIMEOUT_S)
            self._path.chmod(0o600)
            db.execute(f"PRAGMA page_size={PAGE_BYTES}")
            db.execute("PRAGMA auto_vacuum=INCREMENTAL")
            db.execute("PRAGMA journal_mode=WAL")
            # A killed process loses nothing that was committed; only a power cut may take the last moments.
            db.execute("PRAGMA synchronous=NORMAL")
            db.execute(f"PRAGMA wal_autocheckpoint={CHECKPOINT_PAGES}")
            db.execute(f"PRAGMA journal_size_limit={FREE_BYTES_MAX}")
            found = _version(db)
            if found == 0:
                db.executescript(f"BEGIN IMMEDIATE; {_SCHEMA} PRAGMA user_version={SCHEMA_VERSION}; COMMIT;")
            elif found == 1:
                db.executescript(_TO_VERSION_2)
            elif found != SCHEMA_VERSION:
                raise _wrong_version(self._path, found)
            newest = db.execute("SELECT batch_ms FROM chunks ORDER BY id DESC LIMIT 1").fetchone()
            self._batch_ms = newest[0] if newest else 0
        except (sqlite_file.Error, OSError) as error:
            raise _unusable(self._path, error) from error

    def close(self) -> None:
        self._connection.close()

    def write(self, rows: Sequence[Row], now_ms: int) -> None:
        """All in one transaction. Afterwards they survive the end of this process, however it ends."""
        # Rises with the ids whatever the clock does, so that a time is found by bisection.
        self._batch_ms = batch_ms = max(self._batch_ms, now_ms)
        db = self._connection
        db.execute("BEGIN IMMEDIATE")
        try:
            known = dict(self._known)
            values: list[Any] = []
            for row in rows:
                chunk = row.chunk
                source = self._source(known, row.source, batch_ms)
                values += (batch_ms, source, row.request_id, chunk.at_ms, chunk.marks, chunk.data)
            start = 0
            for count in _portions(len(rows)):
                _insert(db, count, values[start * COLUMNS : (start + count) * COLUMNS])
                start += count
            db.execute("COMMIT")
            self._known = known
        except BaseException:
            _roll_back(db)
            raise

    def expire(self, before_ms: int, size_max: int) -> bool:
        """Deletes some of what is older, or of the oldest when all is too much; False when nothing was left to do."""
        db = self._connection
        oldest = db.execute(
            "SELECT id, batch_ms, length(data) FROM chunks ORDER BY id LIMIT ?", (ROWS_DELETED_TOGETHER,)
        ).fetchall()
        too_much = self.size() - size_max
        if too_much > 0:
            lengths = itertools.accumulate((row[2] for row in oldest), initial=0)
            oldest = [row for row, before in zip(oldest, lengths, strict=False) if before < too_much]
        else:
            oldest = [row for row in oldest if row[1] < before_ms]
        if not oldest:
            return self._give_back()
        db.execute("BEGIN IMMEDIATE")
        try:
            db.execute("DELETE FROM chunks WHERE id <= ?", (oldest[-1][0],))
            first = db.execute("SELECT batch_ms FROM chunks ORDER BY id LIMIT 1").fetchone()
            unused_ms = first[0] - 2 * SOURCE_STALE_MS if first else self._batch_ms + 1
            db.execute("DELETE FROM sources WHERE last_ms < ?", (unused_ms,))
            db.execute("COMMIT")
        except BaseException:
            _roll_back(db)
            raise
        self._known = {key: known for key, known in self._known.items() if known[1] >= unused_ms}
        return True

    def size(self) -> int:
        """Bytes in use; what was freed and will be written again does not count."""
        page_bytes, pages, free = self._pages()
        return page_bytes * (pages - free)

    def _give_back(self) -> bool:
        page_bytes, _pages, free = self._pages()
        if page_bytes * free <= FREE_BYTES_MAX:
            return False
        self._connection.execute(f"PRAGMA incremental_vacuum({VACUUM_PAGES})").fetchall()
        return True

    def _pages(self) -> tuple[int, int, int]:
        page_bytes, pages, free = (
            self._connection.execute(f"PRAGMA {name}").fetchone()[0]
            for name in ("page_size", "page_count", "freelist_count")
        )
        return page_bytes, pages, free

    def _source(self, known: dict[SourceKey, tuple[int, int]], key: SourceKey, batch_ms: int) -> int:
        found = known.get(key)
        if found is not None and batch_ms - found[1] < SOURCE_STALE_MS:
            return found[0]
        if found is not None:
            source = found[0]
            self._connection.execute("UPDATE sources SET last_ms = ? WHERE id = ?", (batch_ms, source))
        else:
            columns = ", ".join(SourceKey._fields)
            made = self._connection.execute(
                f"INSERT INTO sources (last_ms, {columns}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)", (batch_ms, *key)
            )
            assert made.lastrowid is not None
            source = made.lastrowid
        known[key] = (source, batch_ms)
        return source


class LogReader:
    """Reads only. Each call opens the file anew, so it may be used from any thread, beside a writer or alone."""

    def __init__(self, path: Path) -> None:
        self._path = path

    @property
    def folder(self) -> Path:
        return self._path.parent

    def read(self, query: Query) -> list[LogLine]:
        """Raises `ConfigurationError` when the file cannot be read; a file that is not there has no lines."""
        return list(self._run(lambda db: _read(db, query)))

    def read_on(self, query: Query) -> tuple[list[LogLine], int]:
        """As `read`, and the `after_id` to go on with: behind all that was looked at, whether it matched or not."""

        def ask(db: sqlite_file.Connection) -> list[tuple[list[LogLine], int]]:
            # Looked up first: what comes while this reads is looked at next time.
            newest = db.execute("SELECT coalesce(max(id) + 1, 0) FROM chunks").fetchone()[0]
            lines = list(_read(db, query))
            full = len(lines) >= query.limit
            last = lines[-1].id if lines else query.after_id
            return [(lines, last if full else max(last, (newest << _LINE_BITS) - 1))]

        found = self._run(ask)
        return found[0] if found else ([], query.after_id)

    def functions(self) -> list[tuple[str, str]]:
        """Service and function of all that have lines, sorted."""
        found = self._run(lambda db: db.execute("SELECT DISTINCT service, function FROM sources ORDER BY 1, 2"))
        return [(service, function) for service, function in found]

    def _run(self, ask: Any) -> list[Any]:
        if not self._path.exists():
            return []
        try:
            with closing(sqlite_file.open_for_reading(self._path, BUSY_TIMEOUT_S)) as db:
                found = _version(db)
                if found == 0:
                    return []
                if found > SCHEMA_VERSION:
                    raise _wrong_version(self._path, found)
                return list(ask(db))
        except sqlite_file.Error as error:
            raise _unusable(self._path, error) from error


def _read(db: sqlite_file.Connection, query: Query) -> Iterator[LogLine]:
    first = query.after_id >> _LINE_BITS
    if query.since is not None:
        first = max(first, _first_of(db, int(query.since * 1000)))
    where, values = ["chunks.id >= ?"], [first]
    for column in ("service", "function", "request_id", "qualifier"):
        value = getattr(query, column)
        if value is not None:
            where.append(f"{column} = ?")
            values.append(value)
    # Version 1 is read as it lies there: only a Sesame that starts may change the file.
    columns = SourceKey._fields if _version(db) > 1 else (*SourceKey._fields[:-1], "'' AS qualifier")
    # CROSS keeps the order of the tables: the chunks by their id, which is the order wanted; no sorting.
    # POLICY: no index by request id, which every call would pay for: half a million calls are looked through in 0.2 s.
    rows = db.execute(
        f"SELECT chunks.id, at_ms, marks, data, request_id, {', '.join(columns)} "
        f"FROM chunks CROSS JOIN sources ON sources.id = chunks.source WHERE {' AND '.join(where)} ORDER BY chunks.id",
        values,
    )
    left = query.limit
    for chunk_id, at_ms, marks, data, request_id, *source in rows:
        service, function, version_id, instance_id, project, logstore, qualifier = source
        for number, (entry_ms, entry) in enumerate(entries(Chunk(at_ms, marks, data))):
            line_id = chunk_id << _LINE_BITS | number
            time_s = entry_ms / 1000
            if line_id <= query.after_id or not _within(time_s, query):
                continue
            if left <= 0:
                return
            left -= 1
            text = entry.decode("utf-8", "replace")
            whose = (service, function, version_id, instance_id, request_id, project, logstore)
            yield LogLine(line_id, time_s, *whose, text, qualifier)


def _within(time_s: float, query: Query) -> bool:
    return (query.since is None or time_s >= query.since) and (query.until is None or time_s < query.until)


def _first_of(db: sqlite_file.Connection, since_ms: int) -> int:
    """The id before which every chunk was written, and so every line in it, earlier than `since_ms`."""
    low, high = db.execute("SELECT coalesce(min(id), 0), coalesce(max(id), 0) + 1 FROM chunks").fetchone()
    while low < high:
        middle = (low + high) // 2
        row = db.execute("SELECT id, batch_ms FROM chunks WHERE id >= ? ORDER BY id LIMIT 1", (middle,)).fetchone()
        if row is None or row[1] >= since_ms:
            high = middle
        else:
            low = row[0] + 1
    return int(low)


def _portions(count: int) -> Iterator[int]:
    """Powers of two that add up to `count`: few statements, and always the same ones, so that each is parsed once."""
    size = ROWS_TOGETHER
    while count:
        while size > count:
            size //= 2
        yield size
        count -= size


def _insert(db: sqlite_file.Connection, count: int, values: list[Any]) -> None:
    """`values` has COLUMNS for each of `count` rows."""
    db.execute(_insertion(count), values)


@functools.cache
def _insertion(count: int) -> str:
    places = ",".join(["(?,?,?,?,?,?)"] * count)
    return f"INSERT INTO chunks (batch_ms, source, request_id, at_ms, marks, data) VALUES {places}"


def _roll_back(db: sqlite_file.Connection) -> None:
    if db.in_transaction:
        db.execute("ROLLBACK")


def _version(db: sqlite_file.Connection) -> int:
    return int(db.execute("PRAGMA user_version").fetchone()[0])


def _wrong_version(path: Path, found: int) -> ConfigurationError:
    return ConfigurationError(
        f"{path} was written by a newer Sesame (found version {found}, expected {SCHEMA_VERSION}): upgrade Sesame, or "
        "choose another data directory with --data-dir"
    )


def _unusable(path: Path, error: Exception) -> ConfigurationError:
    return ConfigurationError(f"the logs in {path} cannot be used: {error}")
