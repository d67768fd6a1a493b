"""Changes of the small tables of a cluster's Log Service: in the database first, then in this node's file.

Used by `shared.SharedRows`. A change that the database refuses is not made in the file either. Waiting changes are
first tried together in a transaction that is rolled back, which shows the rows they would write; these go into the
database, and then the changes are made. Nobody else changes these tables meanwhile.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol, TypeVar

import msgspec
import sqlalchemy as sa
import structlog

from sesame.model.errors import PlatformError
from sesame.store.sql import sqlite_file
from sesame.store.sql.database import Database
from sesame.store.sql.dialect import upsert
from sesame.store.sql.log_schema import log_service

T = TypeVar("T")
Act = Callable[[sqlite_file.Connection], Any]
Key = tuple[str, str]

log = structlog.get_logger(__name__)


class Table(NamedTuple):
    name: str
    key: tuple[str, ...]
    columns: tuple[str, ...]


# Tables that others refer to come first.
TABLES = (
    Table("projects", ("name",), ("document",)),
    Table("logstores", ("id",), ("project", "name", "document", "log_index")),
    Table("consumer_groups", ("logstore", "name"), ("document",)),
    Table("checkpoints", ("logstore", "consumer_group", "shard"), ("cursor", "consumer", "updated_s")),
)
_BY_NAME = {table.name: table for table in TABLES}


class Row(NamedTuple):
    """A row as stored in the database; without a `document`, it is deleted."""

    kind: str
    key: str
    document: bytes | None


class _Change(NamedTuple):
    act: Act
    answer: "asyncio.Future[Any]"

    def succeed(self, result: object) -> None:
        if not self.answer.done():
            self.answer.set_result(result)

    def fail(self, error: Exception) -> None:
        if not self.answer.done():
            self.answer.set_exception(error)


class _Tried(NamedTuple):
    """The error of each change, and the rows as they would be after the changes without errors."""

    failures: list[Exception | None]
    rows: list[Row]


class File(Protocol):
    """The part of `commits.Commits` that is used here."""

    async def ask(self, act: Callable[[sqlite_file.Connection], T]) -> T: ...


_encode = msgspec.msgpack.Encoder().encode
decode_key = msgspec.json.Decoder(list[int | str]).decode


class SharedChanges:
    """Belongs to one event loop."""

    def __init__(self, database: Database, file: File) -> None:
        self._database = database
        self._file = file
        self._waiting: list[_Change] = []
        self._serving: asyncio.Task[None] | None = None
        # Rows that may differ between the database and the file: they are written with the next change.
        self._unsure: set[Key] = set()

    async def begin(self) -> None:
        """Makes the file's connection record which rows it changes."""
        await self._file.ask(_watch)

    async def write(self, act: Callable[[sqlite_file.Connection], T]) -> T:
        """Returns the result of `act` once database and file have the change; raises its error. It is run twice.

        Raises `PlatformError` if one of them fails: then no part of the change is visible. It is made even if
        the caller is cancelled.
        """
        answer: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Change(act, answer))
        if self._serving is None or self._serving.done():
            self._serving = asyncio.get_running_loop().create_task(self._serve())
        return await answer

    async def settle(self) -> None:
        """On return the database equals the file. Raises `PlatformError`."""
        if self._unsure:
            await self.write(lambda _db: None)

    async def close(self) -> None:
        """Returns when every request is answered."""
        if self._serving is not None:
            await self._serving

    async def _serve(self) -> None:
        while self._waiting:
            changes, self._waiting = self._waiting, []
            try:
                await self._make(changes)
            except Exception as error:  # noqa: BLE001 - handed to who asked for the changes
                for change in changes:
                    change.fail(error)

    async def _make(self, changes: Sequence[_Change]) -> None:
        tried = await self._file.ask(lambda db: _try(db, changes, self._unsure))
        passed = []
        for change, failure in zip(changes, tried.failures, strict=True):
            if failure is None:
                passed.append(change)
            else:
                change.fail(failure)
        await self._store(tried.rows)
        try:
            results, rows = await self._file.ask(lambda db: apply(db, passed))
        except Exception:
            await self._take_back()
            raise
        # Nothing differs, unless a change depends on more than the file.
        self._unsure = {(row.kind, row.key) for row in {*rows}.difference(tried.rows)}
        for change, result in zip(passed, results, strict=True):
            change.succeed(result)

    async def _store(self, rows: Sequence[Row]) -> None:
        if rows:
            # A commit whose answer is lost may have been made.
            self._unsure |= {(row.kind, row.key) for row in rows}
            await self._database.write(lambda connection: store(connection, rows))

    async def _take_back(self) -> None:
        """Restores the database after the file refused a change."""
        keys = set(self._unsure)
        try:
            rows = await self._file.ask(lambda db: [row_of(db, *key) for key in keys])
            await self._store(rows)
            self._unsure -= keys
        except PlatformError as error:
            log.warning("the database has a change of the Log Service that failed; trying again", error=str(error))


def store(connection: sa.Connection, rows: Sequence[Row]) -> None:
    """Call in a transaction of the database."""
    kept = [row._asdict() for row in rows if row.document is not None]
    if kept:
        connection.execute(upsert(log_service), kept)
    for row in rows:
        if row.document is None:
            here = (log_service.c.kind == row.kind) & (log_service.c.key == row.key)
            connection.execute(sa.delete(log_service).where(here))


def row_of(db: sqlite_file.Connection, kind: str, key: str) -> Row:
    """The row as stored in the file."""
    table = _BY_NAME[kind]
    here = " AND ".join(f"{column} = ?" for column in table.key)
    found = db.execute(f"SELECT {', '.join(table.columns)} FROM {kind} WHERE {here}", decode_key(key)).fetchone()
    return Row(kind, key, None if found is None else _encode(found))


def _watch(db: sqlite_file.Connection) -> None:
    """Only the server's connection changes these tables; the log writer process changes other columns."""
    db.execute("CREATE TEMP TABLE changed (kind TEXT, key TEXT, PRIMARY KEY (kind, key)) WITHOUT ROWID")
    for table in TABLES:
        for event, row in (("INSERT", "new"), (f"UPDATE OF {', '.join(table.columns)}", "new"), ("DELETE", "old")):
            key = ", ".join(f"{row}.{column}" for column in table.key)
            db.execute(
                f"CREATE TEMP TRIGGER {table.name}_{event.partition(' ')[0]} AFTER {event} ON main.{table.name} "
                f"BEGIN INSERT OR IGNORE INTO changed VALUES ('{table.name}', json_array({key})); END"
            )


def _try(db: sqlite_file.Connection, changes: Sequence[_Change], unsure: set[Key]) -> _Tried:
    """Within a transaction, which it leaves unchanged."""
    failures: list[Exception | None] = []
    db.execute("SAVEPOINT trial")
    for change in changes:
        db.execute("SAVEPOINT one_change")
        try:
            change.act(db)
            failures.append(None)
        except sqlite_file.Error:
            raise
        except Exception as error:  # noqa: BLE001 - handed to who asked for the change
            db.execute("ROLLBACK TO one_change")
            failures.append(error)
        db.execute("RELEASE one_change")
    rows = [row_of(db, *key) for key in {*_changed(db), *unsure}]
    db.execute("ROLLBACK TO trial")
    db.execute("RELEASE trial")
    return _Tried(failures, rows)


def apply(db: sqlite_file.Connection, changes: Sequence[_Change]) -> tuple[list[Any], list[Row]]:
    """Within a transaction: the results of the changes, and the rows that they wrote."""
    results = [change.act(db) for change in changes]
    rows = [row_of(db, *key) for key in _changed(db)]
    db.execute("DELETE FROM temp.changed")
    return results, rows


def _changed(db: sqlite_file.Connection) -> list[Key]:
    return [(kind, key) for kind, key in db.execute("SELECT kind, key FROM temp.changed").fetchall()]
