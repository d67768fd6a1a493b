"""Makes a cluster's projects, logstores, indexes and consumers available wherever the writer runs.

Used by `store.LogStorage` for the writer of a cluster. The database that all nodes share is authoritative; the small
tables of `logstores.db` are a copy, made when a node begins to lead. From then on each change of them is committed to
the database first (`shared_changes`). Logs are not included, because they are too large.
"""

import asyncio
import secrets
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import sqlalchemy as sa
import structlog

from sesame.store.logs.file import discard, set_aside
from sesame.store.logs.logstores.commits import Commits
from sesame.store.logs.logstores.file import delete_logstore, open_file, open_for_reading
from sesame.store.logs.logstores.shared_changes import TABLES, Row, SharedChanges, decode_key, row_of, store
from sesame.store.sql import sqlite_file
from sesame.store.sql.database import Database
from sesame.store.sql.dialect import upsert
from sesame.store.sql.log_schema import log_service
from sesame.store.sql.numbers import at_time, keep_ahead, reserve
from sesame.store.sql.schema import counters

# The id of the Log Service to which the rows belong; the file contains it too, because a file from before the cluster
# has other logstores under the same numbers.
LINEAGE = "log_service"
# How many numbers each writer reserves for logstores, and for the groups of each logstore.
IDS, IDS_COUNT = "log_service_ids", 1 << 20
GROUPS, GROUPS_COUNT = "log_service_groups", 1 << 24
# More than one writer assigns. Group numbers have `ROW_BITS` less than 63 bits, enough until the year 2161.
IDS_PER_SECOND, GROUPS_PER_SECOND = 1 << 8, 1 << 11
# How often assigned numbers are reported, so that the next writer starts after them.
TOLD_EVERY_S = 60.0


log = structlog.get_logger(__name__)
_decode = msgspec.msgpack.Decoder(list[Any]).decode


class SharedRows:
    def __init__(self, database: Database, path: Path, wall: Callable[[], float]) -> None:
        """`path` of the file of the logstores; `wall` returns Unix seconds."""
        self._database = database
        self._wall = wall
        self._path = path
        self._commits: Commits | None = None
        self._changes: SharedChanges | None = None

    async def exist(self) -> bool:
        """Whether the database has any rows, that is, belongs to a cluster. Raises `PlatformError`."""
        return await self._database.read(_lineage) is not None

    async def prepare(self) -> None:
        """Call before opening the file: quarantines one that is not of this cluster. Raises `PlatformError`."""
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
        """On return the file equals the database, and its changes go there. Raises `PlatformError`.

        If the database has nothing yet, it gets the rows of the file.
        """
        self._commits = commits
        id_now, group_now = (at_time(self._wall(), each) for each in (IDS_PER_SECOND, GROUPS_PER_SECOND))
        first_id = await self._database.write(lambda c: reserve(c, IDS, max(id_now, 1), IDS_COUNT))
        first_group = await self._database.write(lambda c: reserve(c, GROUPS, group_now, GROUPS_COUNT))
        lineage = await self._database.read(_lineage)
        if lineage is None:
            await self._give_all()
        else:
            rows = await self._database.read(_rows)
            await commits.ask(lambda db: _take_all(db, lineage, rows))
        await commits.ask(lambda db: _number_from(db, first_id, first_group))
        self._changes = SharedChanges(self._database, commits)
        await self._changes.begin()
        commits.agree_by(self._changes)
        await self.tell_numbers()

    async def tell_numbers(self) -> None:
        """Reserves the numbers assigned here, and those after them, against reuse. Raises `PlatformError`.

        Also writes rows that may differ between the database and the file.
        """
        assert self._commits is not None
        assert self._changes is not None
        await self._changes.settle()
        last_id, last_group = await self._commits.ask(_last_numbers)

        def act(connection: sa.Connection) -> None:
            keep_ahead(connection, IDS, last_id + IDS_COUNT // 2)
            keep_ahead(connection, GROUPS, last_group + GROUPS_COUNT // 2)

        await self._database.write(act)

    async def _give_all(self) -> None:
        assert self._commits is not None
        number = 1 + secrets.randbelow((1 << 31) - 1)
        lineage, rows = await self._commits.ask(lambda db: _own_rows(db, number))

        def act(connection: sa.Connection) -> None:
            connection.execute(upsert(counters), {"name": LINEAGE, "value": lineage})
            store(connection, rows)

        await self._database.write(act)


class LogService(NamedTuple):
    """The rows of a cluster's database, for a copy of a node's file. The next numbers are unused."""

    lineage: int
    rows: list[Row]
    next_id: int
    next_group: int

    @property
    def names(self) -> dict[int, str]:
        """`project/logstore` of each logstore, by its number."""
        found = {}
        for row in self.rows:
            if row.kind == "logstores" and row.document is not None:
                project, name, *_others = _decode(row.document)
                found[int(decode_key(row.key)[0])] = f"{project}/{name}"
        return found


def log_service_of(connection: sa.Connection) -> LogService | None:
    """From a state of the database; None if it belongs to no cluster."""
    lineage = _lineage(connection)
    if lineage is None:
        return None
    known = counters.c.name.in_((IDS, GROUPS))
    numbers = dict(connection.execute(sa.select(counters.c.name, counters.c.value).where(known)).all())
    return LogService(lineage, _rows(connection), numbers.get(IDS, 1), numbers.get(GROUPS, 0))


def with_log_service(path: Path, found: LogService) -> sqlite_file.Connection:
    """A copy of a node's file, or a new one, with the database's rows. Discards the file if it is another cluster's."""
    if _lineage_of(path) not in (None, found.lineage):
        discard(path)
    db = open_file(path, durable=False)
    with sqlite_file.transaction(db):
        _take_all(db, found.lineage, found.rows)
        _number_from(db, found.next_id, found.next_group)
    return db


# In the database:


def _lineage(connection: sa.Connection) -> int | None:
    return connection.execute(sa.select(counters.c.value).where(counters.c.name == LINEAGE)).scalar()


def _rows(connection: sa.Connection) -> list[Row]:
    return [Row(*row) for row in connection.execute(sa.select(log_service))]


# In the file:


def _lineage_of(path: Path) -> int | None:
    """None if the file has no project yet, or does not exist."""
    if not path.exists():
        return None
    try:
        with closing(open_for_reading(path)) as db:
            if db.execute("PRAGMA user_version").fetchone()[0] and db.execute("SELECT 1 FROM projects").fetchone():
                return int(db.execute("PRAGMA application_id").fetchone()[0])
    except sqlite_file.Error:
        # Opening it for writing will report what is wrong with it.
        return None
    return None


def _take_all(db: sqlite_file.Connection, lineage: int, rows: Sequence[Row]) -> None:
    db.execute(f"PRAGMA application_id = {lineage}")
    known = {decode_key(row.key)[0] for row in rows if row.kind == "logstores"}
    for (number,) in db.execute("SELECT id FROM logstores").fetchall():
        if number not in known:
            delete_logstore(db, number)
    for table in TABLES:
        if table.name != "logstores":
            db.execute(f"DELETE FROM {table.name}")
        names = (*table.key, *table.columns)
        changed = ", ".join(f"{column} = excluded.{column}" for column in table.columns)
        db.executemany(
            f"INSERT INTO {table.name} ({', '.join(names)}) VALUES ({', '.join('?' * len(names))}) "
            f"ON CONFLICT ({', '.join(table.key)}) DO UPDATE SET {changed}",
            [
                (*decode_key(row.key), *_decode(row.document))
                for row in rows
                if row.kind == table.name and row.document is not None
            ],
        )


def _own_rows(db: sqlite_file.Connection, number: int) -> tuple[int, list[Row]]:
    """The lineage of the file, or `number` if it has none, and all of its rows."""
    lineage = int(db.execute("PRAGMA application_id").fetchone()[0]) or number
    db.execute(f"PRAGMA application_id = {lineage}")
    found = [
        (table.name, key)
        for table in TABLES
        for (key,) in db.execute(f"SELECT json_array({', '.join(table.key)}) FROM {table.name}").fetchall()
    ]
    return lineage, [row_of(db, *each) for each in found]


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
