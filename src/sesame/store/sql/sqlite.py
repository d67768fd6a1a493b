"""SQLite: its engines, integrity checks and copies of files.

Used by `store.sql`, and by `store.upkeep` for files.
"""

import sqlite3
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path

import sqlalchemy as sa

BUSY_TIMEOUT_MS = 10_000
# What the driver raises by itself, where SQLAlchemy does not wrap it.
DriverError = sqlite3.Error


def write_engine(path: Path) -> sa.Engine:
    """One connection whose transactions take the lock at their beginning; WAL, synced at each commit."""
    return _engine(path, begin="BEGIN IMMEDIATE", connections=1)


def read_engine(path: Path, connections: int) -> sa.Engine:
    """For reads beside the writer, in this process."""
    return _engine(path, begin="BEGIN", connections=connections)


def follow_engine(path: Path) -> sa.Engine:
    """For another process: reads a database that a Sesame may be writing, and cannot change it."""
    engine = sa.create_engine(
        sa.URL.create("sqlite", database=path.absolute().as_uri(), query={"mode": "ro", "uri": "true"}),
        poolclass=sa.pool.NullPool,
    )

    @sa.event.listens_for(engine, "connect")
    def configure(raw: sqlite3.Connection, _record: object) -> None:
        raw.isolation_level = None
        raw.execute(f"PRAGMA busy_timeout={BUSY_TIMEOUT_MS}")

    _begin_with(engine, "BEGIN")
    return engine


def in_transaction(connection: sa.Connection) -> bool:
    """False once SQLite has given up the transaction by itself, as it does on a full disk or an I/O error."""
    raw = connection.connection.dbapi_connection
    assert isinstance(raw, sqlite3.Connection)
    return raw.in_transaction


def damage(path: Path) -> list[str]:
    """What SQLite itself finds wrong with a file, at most a hundred lines; empty for a sound one."""
    try:
        with closing(_read_only(path)) as connection:
            found = [str(line) for (line,) in connection.execute("PRAGMA integrity_check(100)")]
    except sqlite3.Error as error:
        return [str(error)]
    return [] if found == ["ok"] else found


def copy_database(source: Path, target: Path) -> None:
    """A copy of one committed state, while others write. `target` must not exist. Raises `DriverError`."""
    with closing(_read_only(source)) as reader, closing(sqlite3.connect(target)) as writer:
        # In one step, so that a busy writer cannot make it begin again and again.
        reader.backup(writer, pages=-1)
        # A copy is one file: without the log that a database in WAL mode has beside it.
        writer.execute("PRAGMA journal_mode=DELETE").fetchall()


def tables_of(path: Path) -> set[str]:
    """The names of its tables. Raises `DriverError`."""
    with closing(_read_only(path)) as connection:
        return {str(name) for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}


def has_rows(path: Path, table: str) -> bool:
    """Raises `DriverError`, also when there is no such table."""
    with closing(_read_only(path)) as connection:
        return connection.execute(f"SELECT 1 FROM {table} LIMIT 1").fetchone() is not None


def companions(path: Path) -> Iterable[Path]:
    """The files that SQLite keeps beside a database, whether they are there or not: its log and its index."""
    return (path.with_name(f"{path.name}-wal"), path.with_name(f"{path.name}-shm"))


def _read_only(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", BUSY_TIMEOUT_MS / 1000, uri=True)
    connection.isolation_level = None
    return connection


def _engine(path: Path, *, begin: str, connections: int) -> sa.Engine:
    engine = sa.create_engine(
        sa.URL.create("sqlite", database=str(path)),
        poolclass=sa.pool.QueuePool,
        pool_size=connections,
        max_overflow=0,
        connect_args={"check_same_thread": False},
    )

    @sa.event.listens_for(engine, "connect")
    def configure(raw: sqlite3.Connection, _record: object) -> None:
        # The driver must not begin transactions by itself: it would do so late and without IMMEDIATE.
        raw.isolation_level = None
        raw.execute(f"PRAGMA busy_timeout={BUSY_TIMEOUT_MS}")
        raw.execute("PRAGMA journal_mode=WAL")
        raw.execute("PRAGMA synchronous=FULL")

    _begin_with(engine, begin)
    return engine


def _begin_with(engine: sa.Engine, statement: str) -> None:
    @sa.event.listens_for(engine, "begin")
    def start(connection: sa.Connection) -> None:
        connection.exec_driver_sql(statement)
