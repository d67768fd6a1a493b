"""The file of the logs: a SQLite database of its own, written by one process.

Used by `store.logs.writer_process`; `store.logs.reader` reads the file.
"""

import functools
import itertools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import msgspec

from sesame.model.errors import ConfigurationError
from sesame.store.durable import make_folder, sync_folder
from sesame.store.logs.lines import Chunk
from sesame.store.logs.shares import Shares
from sesame.store.sql import sqlite_file

SCHEMA_VERSION = 4
BUSY_TIMEOUT_S = 10.0
# One statement inserts at most this many rows, so that the interpreter's lock is released only once for all of them.
ROWS_TOGETHER = 512
COLUMNS = 6
# One transaction of the retention deletes this many rows, so that writes never wait long.
ROWS_DELETED_TOGETHER = 200
# The recorded last row of a source may lag by this many numbers, which saves a write with each batch.
SOURCE_STALE_IDS = 1024
# At most this many sources of rows from elsewhere are remembered; a forgotten one gets another row.
ADOPTED_SOURCES_MAX = 10_000
# Space that retention freed beyond this is returned to the file system, a little at a time.
FREE_BYTES_MAX = 32 * 1024 * 1024
VACUUM_PAGES = 512
# A call that prints two or three KB would leave half of a smaller page empty, which would double the bytes written.
PAGE_BYTES = 16 * 1024
CHECKPOINT_PAGES = 512

_SCHEMA = """
CREATE TABLE sources (
    id INTEGER PRIMARY KEY, last_id INTEGER NOT NULL,
    service TEXT NOT NULL, function TEXT NOT NULL, version_id TEXT NOT NULL,
    instance_id TEXT NOT NULL, log_project TEXT NOT NULL, logstore TEXT NOT NULL, qualifier TEXT NOT NULL
);
CREATE TABLE chunks (
    id INTEGER PRIMARY KEY AUTOINCREMENT, batch_ms INTEGER NOT NULL, source INTEGER NOT NULL,
    request_id TEXT NOT NULL, at_ms INTEGER NOT NULL, marks BLOB, data BLOB NOT NULL
);
"""
# In a cluster, as ranges of ids: the rows in the bucket, and those of them that were written, or copied, here.
_SEALED = "CREATE TABLE sealed (first_id INTEGER PRIMARY KEY, end_id INTEGER NOT NULL);"
_HELD = "CREATE TABLE held (first_id INTEGER PRIMARY KEY, end_id INTEGER NOT NULL);"
_TO_VERSION_2 = "ALTER TABLE sources ADD COLUMN qualifier TEXT NOT NULL DEFAULT '';"
_TO_VERSION_4 = """
ALTER TABLE sources RENAME COLUMN last_ms TO last_id;
UPDATE sources SET last_id = (SELECT coalesce(max(id), 0) FROM chunks);
"""
# The statements that upgrade each version of the file.
_CHANGES = {
    0: _SCHEMA + _SEALED + _HELD,
    1: _TO_VERSION_2 + _TO_VERSION_4 + _SEALED + _HELD,
    2: _TO_VERSION_4 + _SEALED + _HELD,
    3: _TO_VERSION_4 + "DROP TABLE segments;" + _HELD,
}


class SourceKey(NamedTuple):
    service: str
    function: str
    version_id: str
    instance_id: str
    log_project: str
    logstore: str
    qualifier: str = ""


class Row(msgspec.Struct, frozen=True, gc=False):
    """One chunk to be written to the file."""

    source: SourceKey
    request_id: str
    chunk: Chunk


class Adopted(Protocol):
    """A row that another process numbered; its source is passed separately."""

    @property
    def id(self) -> int: ...
    @property
    def batch_ms(self) -> int: ...
    @property
    def request_id(self) -> str: ...
    @property
    def at_ms(self) -> int: ...
    @property
    def marks(self) -> bytes | None: ...
    @property
    def data(self) -> bytes: ...


class LogWriter:
    """The only writer. Not safe for concurrent use by threads; `write` and `expire` raise sqlite_file.Error."""

    def __init__(self, path: Path, next_id: int = 0, after_ms: int = 0) -> None:
        """In a cluster, new rows have ids from `next_id` on, and times that are not before `after_ms`."""
        self._path = path
        self._next_id = next_id
        self._after_ms = after_ms
        self._connection: Any = None
        self._shares = Shares(None)
        # source → its id, and the id of its last row according to the file
        self._known: dict[SourceKey, tuple[int, int]] = {}
        # The same for sources that came through `adopt`.
        self._adopted: dict[SourceKey, tuple[int, int]] = {}
        self._batch_ms = 0

    @property
    def connection(self) -> sqlite_file.Connection:
        """The connection; `replace` changes it."""
        connection: sqlite_file.Connection = self._connection
        return connection

    def open(self) -> str:
        """Returns a notice if the file was damaged: it is then moved to the quarantine, and a new one is created.

        Raises `ConfigurationError` if the file cannot be used for another reason.
        """
        try:
            return self._open_or_replace()
        except (sqlite_file.Error, OSError) as error:
            raise unusable(self._path, error) from error

    def replace(self) -> str:
        """Quarantines a file that turned out to be damaged, and creates a new one; returns a notice about it."""
        self.close()
        aside = set_aside(self._path)
        self._known, self._adopted = {}, {}
        self._open()
        return f"the logs of functions in {self._path} were damaged: they lie in {aside} now, and new ones are kept"

    def _open_or_replace(self) -> str:
        if self._path.is_dir():
            return self.replace()
        try:
            self._open()
        except sqlite_file.Error as error:
            if not sqlite_file.is_damage(error):
                raise
            return self.replace()
        return ""

    def _open(self) -> None:
        self._connection = db = sqlite_file.open_for_writing(self._path, BUSY_TIMEOUT_S)
        self._path.chmod(0o600)
        db.execute(f"PRAGMA page_size={PAGE_BYTES}")
        db.execute("PRAGMA auto_vacuum=INCREMENTAL")
        db.execute("PRAGMA journal_mode=WAL")
        # A killed process loses nothing that was committed; only a power cut may lose the last moments.
        db.execute("PRAGMA synchronous=NORMAL")
        db.execute(f"PRAGMA wal_autocheckpoint={CHECKPOINT_PAGES}")
        db.execute(f"PRAGMA journal_size_limit={FREE_BYTES_MAX}")
        found = version_of(db)
        if found in _CHANGES:
            db.executescript(f"BEGIN IMMEDIATE; {_CHANGES[found]} PRAGMA user_version={SCHEMA_VERSION}; COMMIT;")
        elif found != SCHEMA_VERSION:
            raise wrong_version(self._path, found)
        if self._next_id:
            _begin_at(db, self._next_id)
        self._shares = Shares(db)
        newest = db.execute("SELECT batch_ms FROM chunks ORDER BY id DESC LIMIT 1").fetchone()
        self._batch_ms = max(self._batch_ms, newest[0] if newest else 0, self._after_ms)
        # Read so that damage to this table is found now, too.
        db.execute("SELECT id FROM sources ORDER BY id DESC LIMIT 1").fetchone()

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()

    def write(self, rows: Sequence[Row], now_ms: int) -> None:
        """Writes all rows in one transaction. Afterwards they survive the end of this process, however it ends."""
        # Times increase with the ids, whatever the clock does, so that a time is found by bisection.
        self._batch_ms = batch_ms = max(self._batch_ms, now_ms)
        db = self._connection
        known = dict(self._known)
        values: list[Any] = []
        with sqlite_file.transaction(db):
            last = _last_id(db) + len(rows)
            for row in rows:
                chunk = row.chunk
                source = self._source(known, row.source, last)
                values += (batch_ms, source, row.request_id, chunk.at_ms, chunk.marks, chunk.data)
            start = 0
            for count in _portions(len(rows)):
                last = _insert(db, count, values[start * COLUMNS : (start + count) * COLUMNS])
                start += count
        self._known = known
        if self._next_id and rows:
            # A file that replaces this one continues from here.
            self._next_id = last + 1
        for row in rows:
            self._shares.added(row.source.service, row.source.function, len(row.chunk.data))

    def adopt(self, rows: Sequence[tuple[Adopted, SourceKey]], also: Callable[[sqlite_file.Connection], None]) -> None:
        """Writes rows that already have ids; existing ones stay. `also` runs in the same transaction."""
        db = self._connection
        if len(self._adopted) > ADOPTED_SOURCES_MAX:
            self._adopted = {}
        known = dict(self._adopted)
        with sqlite_file.transaction(db):
            before, last = db.total_changes, max((row.id for row, _key in rows), default=0)
            values = [
                (
                    row.id,
                    row.batch_ms,
                    self._source(known, key, last),
                    row.request_id,
                    row.at_ms,
                    row.marks,
                    row.data,
                )
                for row, key in rows
            ]
            sources = db.total_changes - before
            db.executemany(
                "INSERT OR IGNORE INTO chunks (id, batch_ms, source, request_id, at_ms, marks, data) "
                "VALUES (?, ?, ?, ?, ?, ?, ?)",
                values,
            )
            new = db.total_changes - before - sources
            also(db)
        self._adopted = known
        self._shares.inserted_before()
        if new == len(rows):
            for row, key in rows:
                self._shares.added(key.service, key.function, len(row.data))
        elif new:
            self._shares.forget()

    def expire(self, before_ms: int, size_max: int) -> bool:
        """Deletes some of the older rows; False if nothing was left to do.

        POLICY: if the file is too large, the oldest rows of the function with the most are deleted, so that no function
        evicts another's.
        """
        db = self._connection
        too_much = self.size() - size_max
        if too_much > 0:
            oldest = self._shares.oldest_of_the_largest(ROWS_DELETED_TOGETHER)
            lengths = itertools.accumulate((row.length for row in oldest), initial=0)
            oldest = [row for row, before in zip(oldest, lengths, strict=False) if before < too_much]
        else:
            oldest = [row for row in self._shares.oldest(ROWS_DELETED_TOGETHER) if row.batch_ms < before_ms]
        if not oldest:
            return self._give_back()
        with sqlite_file.transaction(db):
            db.executemany("DELETE FROM chunks WHERE id = ?", [(row.id,) for row in oldest])
            first = db.execute("SELECT id FROM chunks ORDER BY id LIMIT 1").fetchone()
            # By ids, not by times: the clocks of a cluster's nodes may differ.
            used = first[0] - SOURCE_STALE_IDS if first else _last_id(db)
            db.execute("DELETE FROM sources WHERE last_id <= ?", (used,))
        self._known = {key: known for key, known in self._known.items() if known[1] > used}
        self._adopted = {key: known for key, known in self._adopted.items() if known[1] > used}
        self._shares.removed(oldest)
        return True

    def size(self) -> int:
        """Bytes in use, without free pages, which will be reused."""
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

    def _source(self, known: dict[SourceKey, tuple[int, int]], key: SourceKey, last: int) -> int:
        """The id of the source, whose last row is `last`."""
        found = known.get(key)
        if found is not None and last - found[1] < SOURCE_STALE_IDS:
            return found[0]
        if found is not None:
            source = found[0]
            self._connection.execute("UPDATE sources SET last_id = ? WHERE id = ?", (last, source))
        else:
            columns = ", ".join(SourceKey._fields)
            made = self._connection.execute(
                f"INSERT INTO sources (last_id, {columns}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)", (last, *key)
            )
            assert made.lastrowid is not None
            source = made.lastrowid
        known[key] = (source, last)
        return source


def _portions(count: int) -> Iterator[int]:
    """Powers of two that add up to `count`: few and recurring sizes, so that each statement is parsed once."""
    size = ROWS_TOGETHER
    while count:
        while size > count:
            size //= 2
        yield size
        count -= size


def _insert(db: sqlite_file.Connection, count: int, values: list[Any]) -> int:
    """`values` has COLUMNS for each of `count` rows. Returns the id of the last one."""
    return db.execute(_insertion(count), values).lastrowid or 0


def _last_id(db: sqlite_file.Connection) -> int:
    """The highest id that a row has had or that was skipped; 0 in a new file."""
    found = db.execute("SELECT seq FROM sqlite_sequence WHERE name = 'chunks'").fetchone()
    return int(found[0]) if found else 0


def _begin_at(db: sqlite_file.Connection, next_id: int) -> None:
    """Makes new rows have ids from there on, or from the last one on if that is higher."""
    with sqlite_file.transaction(db):
        if db.execute("SELECT 1 FROM sqlite_sequence WHERE name = 'chunks'").fetchone() is None:
            db.execute("INSERT INTO sqlite_sequence (name, seq) VALUES ('chunks', 0)")
        db.execute("UPDATE sqlite_sequence SET seq = max(seq, ?) WHERE name = 'chunks'", (next_id - 1,))


@functools.cache
def _insertion(count: int) -> str:
    places = ",".join(["(?,?,?,?,?,?)"] * count)
    return f"INSERT INTO chunks (batch_ms, source, request_id, at_ms, marks, data) VALUES {places}"


def version_of(db: sqlite_file.Connection) -> int:
    return int(db.execute("PRAGMA user_version").fetchone()[0])


def wrong_version(path: Path, found: int) -> ConfigurationError:
    return ConfigurationError(
        f"{path} was written by a newer Sesame (found version {found}, expected {SCHEMA_VERSION}): upgrade Sesame, or "
        "choose another data directory with --data-dir"
    )


def set_aside(path: Path) -> Path:
    """Moves the file, with the log and the index that SQLite keeps beside it, to the data directory's quarantine."""
    folder = path.parent / "quarantine" / "logs"
    make_folder(folder)
    number = 1
    while (target := folder / f"{path.name}.{number}").exists():
        number += 1
    for suffix in ("", "-wal", "-shm"):
        present = path.with_name(path.name + suffix)
        if present.exists():
            present.rename(target.with_name(target.name + suffix))
    sync_folder(folder)
    return target


def unusable(path: Path, error: Exception) -> ConfigurationError:
    if isinstance(error, sqlite_file.Error) and sqlite_file.is_damage(error):
        step = "the next start of Sesame sets the file aside and begins a new one"
    elif sqlite_file.wants_room(error, path):
        step = sqlite_file.ROOM_STEP
    else:
        step = "let the user who starts Sesame read and write it, or choose another data directory with --data-dir"
    return ConfigurationError(f"the logs in {path} cannot be used: {error}; {step}")


def discard(path: Path) -> None:
    """Deletes the log file; called if the settings keep no logs."""
    for suffix in ("", "-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)
