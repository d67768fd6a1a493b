"""The one writer: group commit, savepoints, failures, the lock and the migrations.

Run by pytest.
Never looks into the database's privates but to break a commit.
"""

import asyncio
import functools
import importlib
import itertools
import os
import shutil
import sqlite3
import threading
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy as sa

from sesame.model.errors import ConfigurationError, PlatformError
from sesame.store.sql import database as database_module
from sesame.store.sql import migrate
from sesame.store.sql.database import Database
from sesame.store.sql.migrate import newest_migration
from sesame.store.sql.schema import counters, metadata, records

REVISIONS = itertools.count(1)


def insert(name: str, connection: sa.Connection) -> None:
    connection.execute(
        sa.insert(records).values(
            kind="k",
            parent="",
            name=name,
            document=b"{}",
            etag="e",
            revision=next(REVISIONS),
            created_at=0.0,
            modified_at=0.0,
        )
    )


def names(connection: sa.Connection) -> list[str]:
    return list(connection.execute(sa.select(records.c.name).order_by(records.c.name)).scalars())


async def opened(place: Path | str) -> Database:
    database = Database(place)
    await database.open()
    return database


async def test_what_was_written_is_read_after_reopening(tmp_path: Path) -> None:
    database = await opened(tmp_path / "new" / "folder" / "sesame.db")
    await database.write(lambda connection: insert("a", connection))
    assert await database.read(names) == ["a"]
    await database.close()
    await database.close()
    database = await opened(tmp_path / "new" / "folder" / "sesame.db")
    assert await database.read(names) == ["a"]
    await database.close()


async def test_an_exception_undoes_its_own_request_only(place: Path | str) -> None:
    database = await opened(place)
    held, hold = threading.Event(), threading.Event()

    def slow(connection: sa.Connection) -> None:
        held.set()
        hold.wait(10)

    def failing(connection: sa.Connection) -> None:
        insert("bad", connection)
        raise ValueError("no")

    first = asyncio.create_task(database.write(slow))
    await asyncio.to_thread(held.wait, 10)
    batch = [database.write(functools.partial(insert, n)) for n in "ab"]
    requests = [asyncio.ensure_future(r) for r in (batch[0], database.write(failing), batch[1])]
    await asyncio.sleep(0)
    hold.set()
    results = await asyncio.gather(first, *requests, return_exceptions=True)
    assert results[:2] == [None, None]
    assert isinstance(results[2], ValueError)
    assert results[3] is None
    assert await database.read(names) == ["a", "b"]
    await database.close()


async def test_requests_that_wait_share_one_commit_in_their_order(place: Path | str) -> None:
    database = await opened(place)
    commits: list[int] = []

    def count(_connection: sa.Connection) -> None:
        commits.append(1)

    # Of every engine: the only one here that commits is the writer's.
    sa.event.listen(sa.Engine, "commit", count)
    hold = threading.Event()
    order: list[int] = []
    first = asyncio.create_task(database.write(lambda connection: hold.wait(10)))
    rest = [
        asyncio.create_task(
            database.write(functools.partial(insert, f"{n:03}"), on_commit=lambda _, n=n: order.append(n))  # type: ignore[misc]
        )
        for n in range(100)
    ]
    await asyncio.sleep(0)
    hold.set()
    await asyncio.gather(first, *rest)
    assert order == list(range(100))
    sa.event.remove(sa.Engine, "commit", count)
    assert 1 <= len(commits) <= 2
    await database.close()


async def test_a_failed_commit_fails_every_request_in_it_and_the_next_works(place: Path | str) -> None:
    database = await opened(place)

    def end_of_transaction(connection: sa.Connection) -> None:
        insert("lost", connection)
        connection.exec_driver_sql("ROLLBACK")
        raise sqlite3.OperationalError("database or disk is full")

    hold = threading.Event()
    first = asyncio.create_task(database.write(lambda connection: hold.wait(10)))
    await asyncio.sleep(0)
    doomed = [asyncio.create_task(database.write(fn)) for fn in (lambda c: insert("same batch", c), end_of_transaction)]
    await asyncio.sleep(0)
    hold.set()
    await asyncio.gather(first, return_exceptions=True)
    answers = await asyncio.gather(*doomed, return_exceptions=True)
    assert all(isinstance(answer, PlatformError) for answer in answers)
    assert await database.read(names) == []
    await database.write(lambda connection: insert("next", connection))
    assert await database.read(names) == ["next"]
    await database.close()


async def test_a_full_disk_is_an_error_and_not_the_end(tmp_path: Path) -> None:
    database = await opened(tmp_path / "db")

    def limit(connection: sa.Connection) -> None:
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
        connection.exec_driver_sql(f"PRAGMA max_page_count={pages}")

    await database.write(limit)

    def too_much(connection: sa.Connection) -> None:
        for number in range(10_000):
            insert(f"{number:06}", connection)

    with pytest.raises((PlatformError, sa.exc.OperationalError), match="full"):
        await database.write(too_much)
    assert await database.read(names) == []
    await database.close()


async def test_a_cancelled_caller_still_has_its_change_applied(place: Path | str) -> None:
    database = await opened(place)
    hold, applied = threading.Event(), asyncio.Event()

    def change(connection: sa.Connection) -> None:
        hold.wait(10)
        insert("a", connection)

    caller = asyncio.create_task(database.write(change, on_commit=lambda _: applied.set()))
    await asyncio.sleep(0)
    caller.cancel()
    hold.set()
    with pytest.raises(asyncio.CancelledError):
        await caller
    await asyncio.wait_for(applied.wait(), 30)
    assert await database.read(names) == ["a"]
    await database.close()


async def test_a_change_that_cannot_be_told_is_its_callers_alone(place: Path | str) -> None:
    database = await opened(place)

    def fails(_result: None) -> None:
        raise KeyError("told to nobody")

    hold = threading.Event()
    first = asyncio.create_task(database.write(lambda _connection: hold.wait(10)))
    await asyncio.sleep(0)
    bad = asyncio.create_task(database.write(lambda connection: insert("a", connection), on_commit=fails))
    good = asyncio.create_task(database.write(lambda connection: insert("b", connection)))
    await asyncio.sleep(0)
    hold.set()
    await first
    with pytest.raises(KeyError, match="told to nobody"):
        await asyncio.wait_for(bad, 30)
    await asyncio.wait_for(good, 30)
    assert await database.read(names) == ["a", "b"]
    await database.close()


async def test_a_connection_that_breaks_costs_its_own_requests_only(place: Path | str) -> None:
    database = await opened(place)
    await database.write(lambda connection: insert("a", connection))

    def breaks(connection: sa.Connection) -> None:
        insert("never", connection)
        raw = connection.connection.dbapi_connection
        assert raw is not None
        raw.close()

    for _ in range(3):
        with pytest.raises((PlatformError, sa.exc.SQLAlchemyError)):
            await asyncio.wait_for(database.write(breaks), 30)
        await asyncio.wait_for(database.write(lambda connection: insert(str(next(REVISIONS)), connection)), 30)
    assert len(await database.read(names)) == 4
    await asyncio.wait_for(database.close(), 30)


async def test_writes_after_close_are_refused(place: Path | str) -> None:
    database = await opened(place)
    pending = asyncio.create_task(database.write(lambda connection: insert("a", connection)))
    await asyncio.sleep(0)
    await database.close()
    await pending
    with pytest.raises(PlatformError, match="closed"):
        await database.write(lambda connection: None)


async def test_two_processes_cannot_have_it_open(place: Path | str) -> None:
    database = await opened(place)
    second = Database(place)
    with pytest.raises(ConfigurationError, match="another process"):
        await second.open()
    await second.close()
    await database.close()
    third = await opened(place)
    await third.close()


async def test_the_database_is_wal_and_fully_synchronous(tmp_path: Path) -> None:
    database = await opened(tmp_path / "db")
    pragmas = await database.write(
        lambda c: [c.exec_driver_sql(f"PRAGMA {name}").scalar_one() for name in ("journal_mode", "synchronous")]
    )
    assert pragmas == ["wal", 2]
    await database.close()


async def test_migrations_end_where_the_schema_stands(place: Path | str) -> None:
    for path in Path(database_module.__file__).parent.glob("*schema.py"):
        importlib.import_module(f"sesame.store.sql.{path.stem}")
    database = await opened(place)

    def compare(connection: sa.Connection) -> list[object]:
        from alembic.autogenerate import compare_metadata
        from alembic.migration import MigrationContext

        context = MigrationContext.configure(connection)
        assert context.get_current_revision() == newest_migration()
        return list(compare_metadata(context, metadata))

    assert await database.read(compare) == []
    await database.close()


async def test_migrations_of_a_version_that_is_installed_while_this_one_runs_are_left_to_that_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would change the database by files of the newer version, and go on with its own tables."""
    installed, path = tmp_path / "migrations", tmp_path / "db"
    shutil.copytree(migrate.MIGRATIONS, installed, ignore=shutil.ignore_patterns("__pycache__"))
    text = f'revision, down_revision = "9999", "{newest_migration()}"\nbranch_labels = depends_on = None\n'
    (installed / "versions" / "v9999_later.py").write_text(f"{text}def upgrade() -> None:\n    raise AssertionError\n")
    monkeypatch.setattr(migrate, "MIGRATIONS", installed)
    with closing(sqlite3.connect(path)) as before:
        before.executescript(SCHEMA_0002)
    database = await opened(path)
    stands = await database.read(lambda c: c.exec_driver_sql("SELECT version_num FROM alembic_version").scalar_one())
    assert stands == newest_migration() != "9999"
    await database.close()
    with closing(sqlite3.connect(path)) as later:
        later.execute("UPDATE alembic_version SET version_num = '9999'")
        later.commit()
    with pytest.raises(ConfigurationError, match="was written by a newer Sesame"):
        await opened(path)


async def test_a_database_of_the_schema_before_is_upgraded_with_its_records(tmp_path: Path) -> None:
    path = tmp_path / "db"
    with closing(sqlite3.connect(path)) as before:
        before.executescript(SCHEMA_0002)
        rows = [("service", "", "b", 20.0), ("service", "", "a", 30.0), ("bucket", "", "c", 10.0)]
        before.executemany("INSERT INTO records VALUES (?, ?, ?, '{}', 'e', 7, 1.0, ?)", rows)
        before.execute("INSERT INTO objects VALUES ('c', x'6b', 'blob', 1, 'E', '0', 'Normal', x'7b7d', 1.0)")
        before.commit()
    database = await opened(path)
    read = await database.read(
        lambda c: c.execute(sa.select(records.c.name, records.c.revision, records.c.modified_at)).all()
    )
    assert sorted(read) == [("a", 3, 30.0), ("b", 2, 20.0), ("c", 1, 10.0)]
    given = await database.read(lambda c: c.execute(sa.select(counters)).all())
    assert dict(tuple(row) for row in given) == {"catalog": 3, "catalog_pruned": 0}
    kept = await database.read(lambda c: c.exec_driver_sql("SELECT blob FROM objects").scalar_one())
    assert kept == "blob"
    await database.close()


# As `sesame 0.0` left it: what Alembic wrote at revision 0002.
SCHEMA_0002 = """
CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL PRIMARY KEY);
INSERT INTO alembic_version VALUES ('0002');
CREATE TABLE records (
    kind TEXT NOT NULL, parent TEXT NOT NULL, name TEXT NOT NULL, document BLOB NOT NULL, etag TEXT NOT NULL,
    revision INTEGER NOT NULL, created_at FLOAT NOT NULL, modified_at FLOAT NOT NULL, PRIMARY KEY (kind, parent, name)
) WITHOUT ROWID;
CREATE TABLE objects (
    bucket TEXT NOT NULL, "key" BLOB NOT NULL, blob TEXT NOT NULL, size BIGINT NOT NULL, etag TEXT NOT NULL,
    crc64 TEXT NOT NULL, kind TEXT NOT NULL, meta BLOB NOT NULL, modified_at FLOAT NOT NULL, PRIMARY KEY (bucket, "key")
) WITHOUT ROWID;
CREATE TABLE object_uploads (
    upload_id TEXT NOT NULL PRIMARY KEY, bucket TEXT NOT NULL, "key" BLOB NOT NULL, meta BLOB NOT NULL,
    initiated_at FLOAT NOT NULL
);
CREATE INDEX object_uploads_by_key ON object_uploads (bucket, "key", upload_id);
CREATE TABLE object_parts (
    upload_id TEXT NOT NULL, number INTEGER NOT NULL, blob TEXT NOT NULL, size BIGINT NOT NULL, etag TEXT NOT NULL,
    crc64 TEXT NOT NULL, modified_at FLOAT NOT NULL, PRIMARY KEY (upload_id, number)
) WITHOUT ROWID;
"""


async def test_a_newer_database_is_refused(place: Path | str) -> None:
    database = await opened(place)
    await database.write(lambda c: c.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'"))
    await database.close()
    database = Database(place)
    with pytest.raises(ConfigurationError, match="newer"):
        await database.open()
    await database.close()


@pytest.mark.parametrize("url", ["mysql://host/db", "sqlite://", "sqlite:///:memory:"])
def test_other_databases_are_refused(url: str) -> None:
    with pytest.raises(ConfigurationError, match="expected postgresql:"):
        Database(url)


async def test_a_url_is_as_good_as_a_path(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path}/a.db")
    await database.open()
    await database.close()
    assert (tmp_path / "a.db").is_file()


async def test_a_file_that_is_no_database_is_refused_with_the_next_step_and_let_go(tmp_path: Path) -> None:
    path = tmp_path / "sesame.db"
    path.write_text("not what Sesame wrote\n" * 100)
    with pytest.raises(ConfigurationError, match=r"cannot be used: file is not a database\. Nothing was changed"):
        await Database(path).open()
    path.unlink()
    again = Database(path)
    await again.open()
    await again.close()


async def test_the_file_is_private_although_the_folder_is_open_to_all(tmp_path: Path) -> None:
    path = tmp_path / "sesame.db"
    path.touch(0o644)
    database = Database(path)
    await database.open()
    await database.write(lambda connection: insert("a", connection))
    try:
        modes = {entry.name: entry.stat().st_mode & 0o077 for entry in os.scandir(tmp_path)}
        assert "sesame.db-wal" in modes
        assert set(modes.values()) == {0}
    finally:
        await database.close()
