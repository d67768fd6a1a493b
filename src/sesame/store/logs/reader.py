"""Reads the file of the logs, beside the process that writes it or alone, a page at a time.

Used by `store.logs.intake` and by the command `sesame logs`, even while no Sesame runs.
"""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, Protocol

import msgspec

from sesame.store.logs.file import BUSY_TIMEOUT_S, SCHEMA_VERSION, SourceKey, unusable, version_of, wrong_version
from sesame.store.logs.lines import Chunk, entries
from sesame.store.sql import sqlite_file

PAGE_LINES_DEFAULT = 1000
# A line's id is its chunk's, with the line's number in the low bits; a chunk of 64 KiB has fewer lines than this.
LINE_BITS = 17


class LogLine(msgspec.Struct, frozen=True):
    """One entry: `time` in seconds since 1970, exact to the millisecond; `id` increases with each and is a cursor."""

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
    """Selects the lines that match all given conditions, at most `limit`, the oldest after `after_id` first.

    `since` (inclusive) and `until` (exclusive) are seconds since 1970.
    """

    service: str | None = None
    function: str | None = None
    request_id: str | None = None
    since: float | None = None
    until: float | None = None
    after_id: int = 0
    limit: int = PAGE_LINES_DEFAULT
    qualifier: str | None = None


class Lines(Protocol):
    """A source of functions' lines: the built-in store, or logstores (`logstores.function_lines`)."""

    @property
    def folder(self) -> Path: ...
    def read_on(self, query: Query) -> tuple[list[LogLine], int]: ...
    def functions(self) -> list[tuple[str, str]]: ...


class LogReader:
    """Only reads. Each call opens the file again, so any thread may use it, beside a writer or alone."""

    def __init__(self, path: Path) -> None:
        self._path = path

    @property
    def folder(self) -> Path:
        return self._path.parent

    def read(self, query: Query) -> list[LogLine]:
        """Raises `ConfigurationError` if the file cannot be read; a missing file has no lines."""
        return list(self._run(lambda db: _read(db, query)))

    def read_on(self, query: Query) -> tuple[list[LogLine], int]:
        """As `read`, with the `after_id` to continue from: after everything that was read, matching or not."""

        def ask(db: sqlite_file.Connection) -> list[tuple[list[LogLine], int]]:
            # Looked up first: lines written during this read are read next time.
            newest = db.execute("SELECT coalesce(max(id) + 1, 0) FROM chunks").fetchone()[0]
            lines = list(_read(db, query))
            full = len(lines) >= query.limit
            last = lines[-1].id if lines else query.after_id
            return [(lines, last if full else max(last, (newest << LINE_BITS) - 1))]

        found = self._run(ask)
        return found[0] if found else ([], query.after_id)

    def functions(self) -> list[tuple[str, str]]:
        """Service and function of all that have lines, sorted."""
        found = self._run(lambda db: db.execute("SELECT DISTINCT service, function FROM sources ORDER BY 1, 2"))
        return [(service, function) for service, function in found]

    def logstore_of(self, service: str) -> tuple[str, str] | None:
        """Project and logstore that the service named when it last wrote; None if none."""
        newest = "SELECT log_project, logstore FROM sources WHERE service = ? ORDER BY id DESC LIMIT 1"
        for project, logstore in self._run(lambda db: db.execute(newest, (service,))):
            return (project, logstore) if project else None
        return None

    def _run(self, ask: Any) -> list[Any]:
        if not self._path.exists():
            return []
        try:
            with closing(sqlite_file.open_for_reading(self._path, BUSY_TIMEOUT_S)) as db:
                found = version_of(db)
                if found == 0:
                    return []
                if found > SCHEMA_VERSION:
                    raise wrong_version(self._path, found)
                return list(ask(db))
        except sqlite_file.Error as error:
            raise unusable(self._path, error) from error


def _read(db: sqlite_file.Connection, query: Query) -> Iterator[LogLine]:
    first = query.after_id >> LINE_BITS
    if query.since is not None:
        first = max(first, _first_of(db, int(query.since * 1000)))
    where, values = ["chunks.id >= ?"], [first]
    for column in ("service", "function", "request_id", "qualifier"):
        value = getattr(query, column)
        if value is not None:
            where.append(f"{column} = ?")
            values.append(value)
    # Version 1 is read unchanged: only a Sesame that starts may change the file.
    columns = SourceKey._fields if version_of(db) > 1 else (*SourceKey._fields[:-1], "'' AS qualifier")
    # CROSS keeps the order of the tables: the chunks by id, as needed, without sorting.
    # POLICY: no index by request id, which would slow down every call: scanning half a million calls takes 0.2 s.
    rows = db.execute(
        f"SELECT chunks.id, at_ms, marks, data, request_id, {', '.join(columns)} "
        f"FROM chunks CROSS JOIN sources ON sources.id = chunks.source WHERE {' AND '.join(where)} ORDER BY chunks.id",
        values,
    )
    left = query.limit
    for chunk_id, at_ms, marks, data, request_id, *source in rows:
        service, function, version_id, instance_id, project, logstore, qualifier = source
        for number, (entry_ms, entry) in enumerate(entries(Chunk(at_ms, marks, data))):
            line_id = chunk_id << LINE_BITS | number
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
    """The smallest chunk id from which on a line may be as late as `since_ms`."""
    low, high = db.execute("SELECT coalesce(min(id), 0), coalesce(max(id), 0) + 1 FROM chunks").fetchone()
    while low < high:
        middle = (low + high) // 2
        row = db.execute("SELECT id, batch_ms FROM chunks WHERE id >= ? ORDER BY id LIMIT 1", (middle,)).fetchone()
        if row is None or row[1] >= since_ms:
            high = middle
        else:
            low = row[0] + 1
    return int(low)
