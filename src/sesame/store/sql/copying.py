"""Copies every row from one database to another, of any kinds, and verifies the copy by counts and digests.

Used by `sesame db copy`, and by backups of a database that is not a file. A target gets all rows in one transaction.
"""

import hashlib
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import sqlalchemy as sa

from sesame.model.errors import ConfigurationError
from sesame.store.sql import sqlite
from sesame.store.sql.backends import backend_of
from sesame.store.sql.cluster_schema import cluster_holders, cluster_leadership
from sesame.store.sql.dialect import storable_text
from sesame.store.sql.interface import Backend
from sesame.store.sql.log_schema import group_segments, log_segments
from sesame.store.sql.migrate import VERSION_TABLE, newest_migration, revision_of
from sesame.store.sql.schema import PAIR, counters
from sesame.store.sql.sqlite import SqliteBackend
from sesame.store.sql.sqlite_file import is_full

T = TypeVar("T")

ROWS_AT_ONCE = 500
_DIGEST_BITS = 256
# Tables that the database itself needs, and tables about running processes.
_NOT_COPIED = frozenset({VERSION_TABLE, cluster_leadership.name, cluster_holders.name})


class CopiedTable(msgspec.Struct, frozen=True):
    """`digest`: the sum of the SHA-256 of all rows, modulo 2^256, as hex: independent of the order of rows."""

    name: str
    rows: int
    digest: str


Progress = Callable[[str], None]


def copy_database(source: Path | str, target: Path | str, progress: Progress = lambda _text: None) -> list[CopiedTable]:
    """Copies all rows; `source` and `target` as for `backend_of`. Neither may be in use meanwhile: both are locked.

    Raises `ConfigurationError` if the source is empty or of another version, if the target is not empty,
    and if the target has other rows than were read; then nothing was copied.
    """
    from_, to = backend_of(source, "sesame db copy"), backend_of(target, "sesame db copy")
    if from_.shown == to.shown:
        raise ConfigurationError(f"{from_.shown} cannot be copied to itself: name another target")
    require_records(from_)
    require_empty(target)
    if not isinstance(from_, SqliteBackend) and not isinstance(to, SqliteBackend):
        with tempfile.TemporaryDirectory(prefix="sesame-copy-") as folder:
            copy_database(source, Path(folder, "between.db"), progress)
            return copy_database(Path(folder, "between.db"), target, progress)
    with ExitStack() as opened:
        opened.callback(from_.close)
        from_.lock()
        opened.callback(to.close)
        to.prepare()
        line = to.writer()
        opened.callback(line.close)

        def both(reading: sa.Connection) -> list[CopiedTable]:
            _require_this_version(reading, from_)
            return line.run(lambda writing: _copy(reading, writing, (from_, to), progress), in_time=False)

        return from_.follow(both)


def save(source: Path | str, target: Path, at_once: Callable[[sa.Connection], T]) -> T:
    """Copies one committed state to a new file, also beside a Sesame that uses `source`.

    `at_once` reads the same state, as early as possible, because its files may be deleted soon. Returns its result.
    Raises `ConfigurationError` for a database that cannot be read or copied.
    """
    backend = backend_of(source)
    if isinstance(backend, SqliteBackend):
        copy_file(backend.path, target)
        return SqliteBackend(target).follow(at_once)
    to = SqliteBackend(target)
    to.prepare()
    line = to.writer()

    def both(reading: sa.Connection) -> T:
        _require_this_version(reading, backend)
        result = at_once(reading)
        line.run(lambda writing: _copy(reading, writing, (backend, to)))
        return result

    try:
        return backend.follow(both)
    finally:
        line.close()
        to.close()
        sqlite.make_single_file(target)


def copy_file(source: Path, target: Path) -> None:
    """As `save`, for any SQLite database."""
    try:
        sqlite.copy_database(source, target)
    except sqlite.DriverError as error:
        full = is_full(error)
        step = f"make room at {target.parent}" if full else "`sesame doctor --check` says what is damaged"
        raise ConfigurationError(f"{source} cannot be copied: {error}; {step}") from error


def make_own(database: Path) -> None:
    """Removes the identity of the original from a copied file, and segments of a cluster's log."""
    backend = SqliteBackend(database)
    line = backend.writer()

    def forget(connection: sa.Connection) -> None:
        with connection.begin():
            # A backup of an earlier version lacks some of these tables.
            tables = sa.inspect(connection).get_table_names()
            if counters.name in tables:
                connection.execute(sa.delete(counters).where(counters.c.name == PAIR))
            for table in (log_segments, group_segments):
                if table.name in tables:
                    connection.execute(sa.delete(table))

    try:
        line.run(forget)
    finally:
        line.close()
        backend.close()
        sqlite.make_single_file(database)


def upgrade_file(database: Path) -> None:
    """Applies missing migrations to a copied file of an earlier version."""
    backend = SqliteBackend(database, keeps_former=False)
    backend.prepare()
    backend.close()
    sqlite.make_single_file(database)


def require_records(backend: Backend) -> None:
    """Raises `ConfigurationError` if the database has no records, is damaged or cannot be reached."""
    if found := backend.missing():
        raise ConfigurationError(f"the database {backend.shown} {found}: there is nothing to copy")


def require_empty(place: Path | str) -> None:
    """Raises `ConfigurationError` if the database has records, or cannot be reached."""
    backend = backend_of(place)
    if not backend.missing():
        raise ConfigurationError(
            f"the database {backend.shown} holds records already: name an empty one, or remove that first"
        )


def _copy(
    reading: sa.Connection, writing: sa.Connection, ends: tuple[Backend, Backend], progress: Progress = lambda _: None
) -> list[CopiedTable]:
    source, target = ends
    copied = []
    with writing.begin():
        tables_read, tables_written = _tables(reading), _tables(writing)
        for name, table in tables_written.items():
            if name != counters.name and writing.execute(sa.select(sa.literal(1)).select_from(table).limit(1)).first():
                raise ConfigurationError(
                    f"the database {target.shown} has rows in its table {name}: name an empty one, or remove that first"
                )
        for name in sorted(tables_read):
            progress(f"table {name}")
            copied.append(_copy_table(reading, writing, tables_read[name], tables_written[name]))
            numbered = tables_written[name].autoincrement_column
            if numbered is not None and (last := source.last_number(reading, name, numbered.name)):
                target.set_last_number(writing, name, numbered.name, last)
    return copied


def _require_this_version(connection: sa.Connection, backend: Backend) -> None:
    found, expected = revision_of(connection), newest_migration()
    if found != expected:
        raise ConfigurationError(
            f"the database {backend.shown} has schema {found}, expected {expected}: start this version of Sesame on it "
            "once to upgrade it, or use the version that wrote it"
        )


def _tables(connection: sa.Connection) -> dict[str, sa.Table]:
    """Every table to copy, as the database defines it, so that this module need not know the schemas."""
    metadata = sa.MetaData()
    metadata.reflect(connection)
    return {name: table for name, table in metadata.tables.items() if name not in _NOT_COPIED}


def _copy_table(reading: sa.Connection, writing: sa.Connection, source: sa.Table, target: sa.Table) -> CopiedTable:
    writing.execute(sa.delete(target))
    sent = _Sum(source)
    for rows in _chunks(reading, source):
        if writing.dialect.name == "postgresql":
            rows = [{name: storable_text(value) for name, value in row.items()} for row in rows]
        sent.add(rows)
        try:
            writing.execute(sa.insert(target), rows)
        except sa.exc.DBAPIError as error:
            # The driver's own errors end with the value, which may be a secret.
            reason = str(error.orig).partition(" in element #")[0]
            raise ConfigurationError(
                f"a row of the table {source.name} is not accepted by the target: {reason}; nothing was copied"
            ) from error
    arrived = _Sum(source)
    for rows in _chunks(writing, target):
        arrived.add(rows)
    if arrived.result() != sent.result():
        raise ConfigurationError(
            f"the table {source.name} has {arrived.rows} rows with digest {arrived.result().digest} in the target, "
            f"expected {sent.rows} with {sent.result().digest}; nothing was copied"
        )
    return sent.result()


def _chunks(connection: sa.Connection, table: sa.Table) -> Iterator[list[dict[str, Any]]]:
    wanted = sa.select(table) if table.name != counters.name else sa.select(table).where(table.c.name != PAIR)
    result = connection.execute(wanted.execution_options(yield_per=ROWS_AT_ONCE))
    for rows in result.partitions():
        yield [dict(row._mapping) for row in rows]


class _Sum:
    """Counts and digests the rows of one table."""

    def __init__(self, table: sa.Table) -> None:
        self.rows = 0
        self._name = table.name
        self._columns = sorted(table.columns.keys())
        self._sum = 0

    def add(self, rows: list[dict[str, Any]]) -> None:
        for row in rows:
            data = msgspec.msgpack.encode([row[column] for column in self._columns])
            self._sum = (self._sum + int.from_bytes(hashlib.sha256(data).digest(), "big")) % (1 << _DIGEST_BITS)
        self.rows += len(rows)

    def result(self) -> CopiedTable:
        return CopiedTable(self._name, self.rows, f"{self._sum:064x}")
