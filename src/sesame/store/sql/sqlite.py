"""SQLite: a database in a file, its engines, lock, integrity checks and copies.

Chosen by `store.sql.backends`; `store.upkeep` uses the functions for files. One process at a time uses a file.
"""

import fcntl
import os
import sqlite3
from collections.abc import Callable, Iterable
from contextlib import closing
from pathlib import Path
from typing import TypeVar

import sqlalchemy as sa

from sesame.model.errors import ConfigurationError
from sesame.store.durable import make_folder, sync_folder
from sesame.store.sql import former
from sesame.store.sql.migrate import migrate
from sesame.store.sql.refusals import NEXT_STEPS, damaged, of_another_program
from sesame.store.sql.sqlite_file import wants_room

T = TypeVar("T")

BUSY_TIMEOUT_MS = 10_000
# Errors of the driver that SQLAlchemy does not wrap.
DriverError = sqlite3.Error


class SqliteBackend:
    """`store.sql.interface.Backend` for a file. Its lock is a lock on a file beside it."""

    next_steps = NEXT_STEPS
    probe_every_s: float | None = None

    def __init__(self, path: Path, *, durable: bool = True, keeps_former: bool = True) -> None:
        """Before its migrations a copy of the file is made, if it `keeps_former`."""
        self._durable = durable
        self._keeps_former = keeps_former
        self.path = path.absolute()
        self.shown = str(self.path)
        self._lock: int | None = None

    def lock(self) -> None:
        make_folder(self.path.parent)
        self._lock = _lock(self.path.with_name(self.path.name + ".lock"))

    def prepare(self) -> None:
        self.lock()
        _keep_private(self.path)
        engine = write_engine(self.path, durable=self._durable)
        try:
            if self._keeps_former:
                former.keep(self.path)
            with engine.connect() as connection:
                migrate(connection, self.shown)
                connection.commit()
        except (sa.exc.DBAPIError, DriverError) as error:
            raise self.unusable(error) from error
        finally:
            engine.dispose()
        if self._keeps_former:
            former.forget(self.path)
        # The file, its log and its index exist now; their names must survive a power cut as well.
        sync_folder(self.path.parent)

    def writer(self) -> "SqliteLine":
        return SqliteLine(write_engine(self.path, durable=self._durable))

    def reader(self) -> "SqliteLine":
        return SqliteLine(read_engine(self.path))

    def close(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def lost_transaction(self, connection: sa.Connection, error: BaseException) -> bool:
        """SQLite rolls back the transaction by itself on a full disk or an I/O error."""
        raw = connection.connection.dbapi_connection
        return not (isinstance(raw, sqlite3.Connection) and raw.in_transaction)

    def unusable(self, error: BaseException) -> ConfigurationError:
        said = getattr(error, "orig", None) or error
        return damaged(self.shown, said, full=wants_room(said, self.path))

    def absent(self) -> str:
        if not self.path.exists():
            return "missing"
        return "" if self.path.stat().st_size else "empty"

    def missing(self) -> str:
        if absent := self.absent():
            # SQLite would delete the log of an empty database, and with it everything not yet copied from it.
            wal = self.path.with_name(f"{self.path.name}-wal")
            if wal.exists() and wal.stat().st_size:
                raise ConfigurationError(
                    f"the database {self.path} is missing or empty, but its log {wal.name} is there. {NEXT_STEPS}"
                )
            return f"is {absent}"
        try:
            tables = tables_of(self.path)
            if tables and "alembic_version" not in tables:
                raise of_another_program(self.shown, tables, NEXT_STEPS)
            return "" if "records" in tables and has_rows(self.path, "records") else "holds no records"
        except sqlite3.Error as error:
            raise self.unusable(error) from error

    def follow(self, fn: Callable[[sa.Connection], T]) -> T:
        try:
            with follow_engine(self.path).connect() as connection:
                return fn(connection)
        except sa.exc.DBAPIError as error:
            raise self.unusable(error) from error

    def damage(self) -> list[str]:
        return integrity(self.path)

    def last_number(self, connection: sa.Connection, table: str, column: str) -> int:
        found = connection.execute(sa.text("SELECT seq FROM sqlite_sequence WHERE name = :table"), {"table": table})
        return int(found.scalar_one_or_none() or 0)

    def set_last_number(self, connection: sa.Connection, table: str, column: str, number: int) -> None:
        connection.execute(sa.text("DELETE FROM sqlite_sequence WHERE name = :table"), {"table": table})
        row = {"table": table, "number": number}
        connection.execute(sa.text("INSERT INTO sqlite_sequence (name, seq) VALUES (:table, :number)"), row)


class SqliteLine:
    """`store.sql.interface.Line`. A connection to a file never breaks: it is reopened only after `drop`."""

    def __init__(self, engine: sa.Engine) -> None:
        self.opened = 0
        self._engine = engine
        self._connection: sa.Connection | None = None

    def run(self, fn: Callable[[sa.Connection], T], *, in_time: bool = True) -> T:
        if self._connection is None:
            self._connection = self._engine.connect()
            self.opened += 1
        try:
            return fn(self._connection)
        finally:
            if self._connection.in_transaction():
                self._connection.rollback()

    def drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.invalidate()
            connection.close()

    def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()
        self._engine.dispose()


def write_engine(path: Path, *, durable: bool = True) -> sa.Engine:
    """One connection whose transactions take the lock at their start; WAL, synced at each commit if `durable`."""
    return _engine(path, begin="BEGIN IMMEDIATE", durable=durable)


def read_engine(path: Path) -> sa.Engine:
    """For reads beside the writer, in this process."""
    return _engine(path, begin="BEGIN")


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


def integrity(path: Path) -> list[str]:
    """What SQLite's own check finds wrong with a file, at most a hundred lines; empty for a sound one."""
    try:
        with closing(_read_only(path)) as connection:
            found = [str(line) for (line,) in connection.execute("PRAGMA integrity_check(100)")]
    except sqlite3.Error as error:
        return [str(error)]
    return [] if found == ["ok"] else found


def copy_database(source: Path, target: Path) -> None:
    """Copies one committed state, while others write. `target` must not exist. Raises `DriverError`."""
    with closing(_read_only(source)) as reader, closing(sqlite3.connect(target)) as writer:
        # In one step, so that a busy writer cannot make the copy start over again and again.
        reader.backup(writer, pages=-1)
    make_single_file(target)


def make_single_file(path: Path) -> None:
    """Removes the log and the lock beside a closed database. Raises `DriverError`."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode=DELETE").fetchall()
    path.with_name(f"{path.name}.lock").unlink(missing_ok=True)


def tables_of(path: Path) -> set[str]:
    """The names of the tables. Raises `DriverError`."""
    with closing(_read_only(path)) as connection:
        return {str(name) for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}


def has_rows(path: Path, table: str) -> bool:
    """Whether the table has rows. Raises `DriverError`, also if there is no such table."""
    with closing(_read_only(path)) as connection:
        return connection.execute(f"SELECT 1 FROM {table} LIMIT 1").fetchone() is not None


def companions(path: Path) -> Iterable[Path]:
    """The files that SQLite keeps beside a database, which may not exist: its log and its index."""
    return (path.with_name(f"{path.name}-wal"), path.with_name(f"{path.name}-shm"))


def _read_only(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", BUSY_TIMEOUT_MS / 1000, uri=True)
    connection.isolation_level = None
    return connection


def _engine(path: Path, *, begin: str, durable: bool = True) -> sa.Engine:
    engine = sa.create_engine(
        sa.URL.create("sqlite", database=str(path)),
        poolclass=sa.pool.QueuePool,
        pool_size=1,
        max_overflow=0,
        connect_args={"check_same_thread": False},
        # Parameters may be secrets, and errors are logged.
        hide_parameters=True,
    )

    @sa.event.listens_for(engine, "connect")
    def configure(raw: sqlite3.Connection, _record: object) -> None:
        # The driver must not start transactions by itself: it would do so late and without IMMEDIATE.
        raw.isolation_level = None
        raw.execute(f"PRAGMA busy_timeout={BUSY_TIMEOUT_MS}")
        raw.execute("PRAGMA journal_mode=WAL")
        raw.execute(f"PRAGMA synchronous={'FULL' if durable else 'OFF'}")

    _begin_with(engine, begin)
    return engine


def _begin_with(engine: sa.Engine, statement: str) -> None:
    @sa.event.listens_for(engine, "begin")
    def start(connection: sa.Connection) -> None:
        # Uses the driver directly: SQLAlchemy's overhead for a statement costs more than this statement.
        raw = connection.connection.driver_connection
        assert isinstance(raw, sqlite3.Connection)
        try:
            raw.execute(statement)
        except sqlite3.Error as error:
            raise sa.exc.OperationalError(statement, None, error, hide_parameters=True) from error


def _keep_private(path: Path) -> None:
    """Lets only its owner read the file, which contains keys; SQLite gives the files beside it the same mode."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        os.fchmod(descriptor, 0o600)
    finally:
        os.close(descriptor)


def _lock(path: Path) -> int:
    """Takes a lock that is held until the descriptor is closed or the process ends."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(descriptor)
        raise ConfigurationError(
            f"another process has {path.parent} open: stop it, or choose another data directory"
        ) from error
    return descriptor
