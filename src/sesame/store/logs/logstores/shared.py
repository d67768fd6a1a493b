"""Has a cluster's Log Service find its projects, logstores, indexes and consumers wherever the writer is.

Used by `store.LogStorage` for the writer of a cluster. The truth is in the database that all nodes share; the small
tables of `logstores.db` are a copy, made when a node begins to lead. From then on each change of them is in the
database before it is answered. Logs, which are much, are not among them.
"""

import asyncio
import secrets
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import sqlalchemy as sa
import structlog

from sesame.model.errors import PlatformError
from sesame.store.logs.file import set_aside
from sesame.store.logs.logstores.commits import Commits
from sesame.store.logs.logstores.file import delete_logstore, open_for_reading
from sesame.store.sql import sqlite_file
from sesame.store.sql.database import Database
from sesame.store.sql.dialect import upsert
from sesame.store.sql.log_schema import log_service
from sesame.store.sql.numbers import keep_ahead, reserve
from sesame.store.sql.schema import counters

# Which Log Service the rows are of: known to the file as well, as one from before the cluster has other logstores under
# the same numbers.
LINEAGE = "log_service"
# Each writer may give so many logstores numbers, and so many groups of each logstore.
IDS, IDS_COUNT = "log_service_ids", 1 << 20
GROUPS, GROUPS_COUNT = "log_service_groups", 1 << 24
# So often the numbers that were given are told, so that the next writer begins behind them.
TOLD_EVERY_S = 60.0


class _Table(NamedTuple):
    name: str
    key: tuple[str, ...]
    columns: tuple[str, ...]


# Those that others refer to come first.
_TABLES = (
    _Table("projects", ("name",), ("document",)),
    _Table("logstores", ("id",), ("project", "name", "document", "log_index")),
    _Table("consumer_groups", ("logstore", "name"), ("document",)),
    _Table("checkpoints", ("logstore", "consumer_group", "shard"), ("cursor", "consumer", "updated_s")),
)
_BY_NAME = {table.name: table for table in _TABLES}


class _Row(NamedTuple):
    """A row as the database has it; no `document` if it is gone."""

    kind: str
    key: str
    document: bytes | None


log = structlog.get_logger(__name__)
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(list[Any]).decode
_decode_key = msgspec.json.Decoder(list[int | str]).decode


class SharedRows:
    def __init__(self, database: Database, path: Path) -> None:
        """`path` of the file of the logstores."""
        self._database = database
        self._path = path
        self._commits: Commits | None = None
        self._turn = asyncio.Lock()

    async def exist(self) -> bool:
        """Whether the database has any, as that of a cluster. Raises `PlatformError`."""
        return await self._database.read(_lineage) is not None

    async def prepare(self) -> None:
        """Before the file is opened: one that is not of this cluster is set aside. Raises `PlatformError`."""
        lineage = await self._database.read(_lineage)
        if lineage is None:
            return
        found = await asyncio.to_thread(_lineage_of, self._path)
        if found not in (None, lineage):
            aside = await asyncio.to_thread(set_aside, self._path)
            log.warning(
                "the logstores of this node are not those of its cluster: they are set aside", moved_to=str(aside)
            )

    async def begin(self, commits: Commits) -> None:
        """On return the file has what the database has, and changes of it get there. Raises `PlatformError`.

        Where the database has nothing yet, it gets what the file has.
        """
        self._commits = commits
        first_id = await self._database.write(lambda connection: reserve(connection, IDS, 1, IDS_COUNT))
        first_group = await self._database.write(lambda connection: reserve(connection, GROUPS, 0, GROUPS_COUNT))
        lineage = await self._database.read(_lineage)
        if lineage is None:
            await self._give_all()
        else:
            rows = await self._database.read(_rows)
            await commits.ask(lambda db: _take_all(db, lineage, rows))
        await commits.ask(lambda db: _number_from(db, first_id, first_group))
        await commits.ask(_watch)
        commits.watch(self.bring)
        await self.tell_numbers()

    async def bring(self) -> None:
        """On return what was changed before is in the database. Raises `PlatformError`: then it is tried with the next.

        It is brought although who waits for it goes away.
        """
        await asyncio.shield(asyncio.ensure_future(self._bring()))

    async def tell_numbers(self) -> None:
        """Others give none of the numbers that were given here, nor the next ones."""
        assert self._commits is not None
        last_id, last_group = await self._commits.ask(_last_numbers)

        def act(connection: sa.Connection) -> None:
            keep_ahead(connection, IDS, last_id + IDS_COUNT // 2)
            keep_ahead(connection, GROUPS, last_group + GROUPS_COUNT // 2)

        await self._database.write(act)

    async def _bring(self) -> None:
        assert self._commits is not None
        async with self._turn:
            rows = await self._commits.ask(_take_changed)
            if not rows:
                return
            try:
                await self._database.write(lambda connection: _store(connection, rows))
            except PlatformError:
                await self._commits.ask(lambda db: _mark_changed(db, rows))
                raise

    async def _give_all(self) -> None:
        assert self._commits is not None
        number = 1 + secrets.randbelow((1 << 31) - 1)
        lineage, rows = await self._commits.ask(lambda db: _own_rows(db, number))

        def act(connection: sa.Connection) -> None:
            connection.execute(upsert(counters), {"name": LINEAGE, "value": lineage})
            _store(connection, rows)

        await self._database.write(act)


# In the database


def _lineage(connection: sa.Connection) -> int | None:
    return connection.execute(sa.select(counters.c.value).where(counters.c.name == LINEAGE)).scalar()


def _rows(connection: sa.Connection) -> list[_Row]:
    return [_Row(*row) for row in connection.execute(sa.select(log_service))]


def _store(connection: sa.Connection, rows: Sequence[_Row]) -> None:
    kept = [row._asdict() for row in rows if row.document is not None]
    if kept:
        connection.execute(upsert(log_service), kept)
    for row in rows:
        if row.document is None:
            here = (log_service.c.kind == row.kind) & (log_service.c.key == row.key)
            connection.execute(sa.delete(log_service).where(here))


# In the file


def _lineage_of(path: Path) -> int | None:
    """None if it has no project yet, or is not there."""
    if not path.exists():
        return None
    try:
        with closing(open_for_reading(path)) as db:
            if db.execute("PRAGMA user_version").fetchone()[0] and db.execute("SELECT 1 FROM projects").fetchone():
                return int(db.execute("PRAGMA application_id").fetchone()[0])
    except sqlite_file.Error:
        # Opening it for writing says what is wrong with it.
        return None
    return None


def _take_all(db: sqlite_file.Connection, lineage: int, rows: Sequence[_Row]) -> None:
    db.execute(f"PRAGMA application_id = {lineage}")
    known = {_decode_key(row.key)[0] for row in rows if row.kind == "logstores"}
    for (number,) in db.execute("SELECT id FROM logstores").fetchall():
        if number not in known:
            delete_logstore(db, number)
    for table in _TABLES:
        if table.name != "logstores":
            db.execute(f"DELETE FROM {table.name}")
        names = (*table.key, *table.columns)
        changed = ", ".join(f"{column} = excluded.{column}" for column in table.columns)
        db.executemany(
            f"INSERT INTO {table.name} ({', '.join(names)}) VALUES ({', '.join('?' * len(names))}) "
            f"ON CONFLICT ({', '.join(table.key)}) DO UPDATE SET {changed}",
            [
                (*_decode_key(row.key), *_decode(row.document))
                for row in rows
                if row.kind == table.name and row.document is not None
            ],
        )


def _own_rows(db: sqlite_file.Connection, number: int) -> tuple[int, list[_Row]]:
    """The lineage of the file, this number if it has none, and all of its rows."""
    lineage = int(db.execute("PRAGMA application_id").fetchone()[0]) or number
    db.execute(f"PRAGMA application_id = {lineage}")
    found = [
        (table.name, key)
        for table in _TABLES
        for (key,) in db.execute(f"SELECT json_array({', '.join(table.key)}) FROM {table.name}").fetchall()
    ]
    return lineage, [_row(db, *each) for each in found]


def _number_from(db: sqlite_file.Connection, first_id: int, first_group: int) -> None:
    if db.execute("SELECT 1 FROM sqlite_sequence WHERE name = 'logstores'").fetchone() is None:
        db.execute("INSERT INTO sqlite_sequence (name, seq) VALUES ('logstores', 0)")
    db.execute("UPDATE sqlite_sequence SET seq = max(seq, ?) WHERE name = 'logstores'", (first_id - 1,))
    db.execute("UPDATE logstores SET next_group = max(next_group, ?)", (first_group,))


def _last_numbers(db: sqlite_file.Connection) -> tuple[int, int]:
    last_id, last_group = db.execute(
        "SELECT (SELECT seq FROM sqlite_sequence WHERE name = 'logstores'), coalesce(max(next_group), 0) FROM logstores"
    ).fetchone()
    return int(last_id), int(last_group)


def _watch(db: sqlite_file.Connection) -> None:
    """From here on the connection notes which rows it changes. Only the server's does; no other changes these."""
    db.execute("CREATE TEMP TABLE changed (kind TEXT, key TEXT, PRIMARY KEY (kind, key)) WITHOUT ROWID")
    for table in _TABLES:
        for event, row in (("INSERT", "new"), (f"UPDATE OF {', '.join(table.columns)}", "new"), ("DELETE", "old")):
            key = ", ".join(f"{row}.{column}" for column in table.key)
            db.execute(
                f"CREATE TEMP TRIGGER {table.name}_{event.partition(' ')[0]} AFTER {event} ON main.{table.name} "
                f"BEGIN INSERT OR IGNORE INTO changed VALUES ('{table.name}', json_array({key})); END"
            )


def _take_changed(db: sqlite_file.Connection) -> list[_Row]:
    found = db.execute("SELECT kind, key FROM temp.changed").fetchall()
    db.execute("DELETE FROM temp.changed")
    return [_row(db, kind, key) for kind, key in found]


def _mark_changed(db: sqlite_file.Connection, rows: Sequence[_Row]) -> None:
    db.executemany("INSERT OR IGNORE INTO temp.changed VALUES (?, ?)", [(row.kind, row.key) for row in rows])


def _row(db: sqlite_file.Connection, kind: str, key: str) -> _Row:
    table = _BY_NAME[kind]
    here = " AND ".join(f"{column} = ?" for column in table.key)
    found = db.execute(f"SELECT {', '.join(table.columns)} FROM {kind} WHERE {here}", _decode_key(key)).fetchone()
    return _Row(kind, key, None if found is None else _encode(found))
