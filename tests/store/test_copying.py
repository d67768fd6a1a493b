"""Every row goes from one kind of database to the other and back, and is there once or not at all.

Run by pytest.
"""

import asyncio
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from tests.support.data_directory import filled
from tests.support.postgresql import Server

from sesame.model.errors import ConfigurationError
from sesame.store import outbox
from sesame.store.sql import sqlite
from sesame.store.sql.backends import backend_of
from sesame.store.sql.copying import copy_database, make_own
from sesame.store.sql.database import Database
from sesame.store.sql.migrate import MIGRATIONS
from sesame.store.sql.schema import PAIR, counters, records
from sesame.store.sql.schema import outbox as outbox_table


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    data_dir = filled(tmp_path_factory.mktemp("whole") / "data")
    asyncio.run(_use_up_numbers(data_dir.path / "sesame.db"))
    return data_dir.path / "sesame.db"


async def _use_up_numbers(path: Path) -> None:
    """Leaves the outbox with one row after others that are gone, so that the next number is not the count of rows."""
    database = Database(path)
    await database.open()

    def work(connection: sa.Connection) -> None:
        outbox.add(connection, "t", ["a", "b", "c"], 1.0, b"\x00\xff")
        outbox.remove(connection, "t", ["a", "c"])

    await database.write(work)
    await database.close()


def rows_of(place: Path | str, table: sa.Table) -> list[tuple[Any, ...]]:
    order = table.primary_key.columns
    read: Callable[[sa.Connection], list[tuple[Any, ...]]] = lambda connection: [  # noqa: E731
        tuple(row) for row in connection.execute(sa.select(table).order_by(*order))
    ]
    return backend_of(place).follow(read)


async def next_number(place: Path | str) -> int:
    database = Database(place)
    await database.open()

    def one(connection: sa.Connection) -> int:
        outbox.add(connection, "t", ["next"], 1.0)
        return outbox.pending(connection, "t")[-1].id

    try:
        return await database.write(one)
    finally:
        await database.close()


def test_there_and_back_every_row_is_the_same(whole: Path, postgresql_url: str, tmp_path: Path) -> None:
    there = copy_database(whole, postgresql_url)
    back = copy_database(postgresql_url, tmp_path / "new" / "sesame.db")
    assert there == back
    counted = {table.name: table.rows for table in there}
    assert counted["records"] == 4
    assert counted["objects"] == 6
    assert counted["object_parts"] == 1
    assert all(re.fullmatch(r"[0-9a-f]{64}", table.digest) for table in there)
    for table in records.metadata.sorted_tables:
        assert rows_of(postgresql_url, table) == rows_of(whole, table) == rows_of(tmp_path / "new" / "sesame.db", table)
    numbers = [asyncio.run(next_number(place)) for place in (tmp_path / "new" / "sesame.db", postgresql_url)]
    assert len(set(numbers)) == 1
    assert numbers[0] > max(number for number, *_ in rows_of(whole, outbox_table))


@pytest.mark.thorough
def test_one_server_to_another(whole: Path, postgresql_url: str, postgresql_server: Server) -> None:
    copy_database(whole, postgresql_url)
    other = postgresql_server.create("template0")
    try:
        assert copy_database(postgresql_url, postgresql_server.url(other)) == copy_database(
            postgresql_server.url(other), whole.parent / "third.db"
        )
    finally:
        postgresql_server.drop(other)


def test_a_target_that_holds_something_is_refused_and_stays(whole: Path, postgresql_url: str, tmp_path: Path) -> None:
    copy_database(whole, postgresql_url)
    before = rows_of(postgresql_url, records)
    with pytest.raises(ConfigurationError, match="holds records already"):
        copy_database(whole, postgresql_url)
    assert rows_of(postgresql_url, records) == before
    (tmp_path / "other").mkdir()
    mine = filled(tmp_path / "other" / "data").path / "sesame.db"
    with pytest.raises(ConfigurationError, match="holds records already"):
        copy_database(postgresql_url, mine)
    with pytest.raises(ConfigurationError, match="cannot be copied to itself"):
        copy_database(postgresql_url, postgresql_url)


def test_a_database_of_another_program_is_no_target(
    whole: Path, postgresql_url: str, postgresql_server: Server
) -> None:
    other = postgresql_server.create("template0")
    postgresql_server.sql("CREATE TABLE invoices (id int)", other)
    with pytest.raises(ConfigurationError, match=r"of another program \(found tables invoices\)"):
        copy_database(whole, postgresql_server.url(other))
    postgresql_server.drop(other)


def test_a_source_without_records_is_refused(postgresql_url: str, tmp_path: Path) -> None:
    for source in (postgresql_url, tmp_path / "none.db"):
        with pytest.raises(ConfigurationError, match="there is nothing to copy"):
            copy_database(source, tmp_path / "new.db")


async def test_what_is_in_use_is_neither_source_nor_target(
    whole: Path, postgresql_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sesame.store.sql.postgresql.LOCK_PATIENCE_S", 0.0)
    for place in (postgresql_url, whole):
        database = Database(place, "/var/lib/sesame")
        await database.open()
        with pytest.raises(ConfigurationError, match=r"another process"):
            await asyncio.to_thread(copy_database, whole, postgresql_url)
        await database.close()


SPOILS = {
    "lost": "RETURN CASE WHEN NEW.key = 'large' THEN NULL ELSE NEW END",
    "changed": "NEW.size := 7; RETURN NEW",
    "refused": "RAISE EXCEPTION 'no space left'",
}


@pytest.mark.parametrize("spoil", SPOILS.values(), ids=SPOILS)
def test_a_row_that_does_not_arrive_as_it_was_undoes_the_copy(
    whole: Path, postgresql_url: str, postgresql_server: Server, spoil: str
) -> None:
    name = postgresql_url.rpartition("/")[2]
    postgresql_server.sql(
        f"CREATE FUNCTION spoil() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {spoil}; END $$; "
        "CREATE TRIGGER spoil BEFORE INSERT ON objects FOR EACH ROW EXECUTE FUNCTION spoil()",
        name,
    )
    with pytest.raises(ConfigurationError, match=r"table objects .*nothing was copied"):
        copy_database(whole, postgresql_url)
    assert backend_of(postgresql_url).missing() == "holds no records"
    postgresql_server.sql("DROP FUNCTION spoil CASCADE", name)
    copy_database(whole, postgresql_url)


def test_a_copy_of_an_earlier_version_has_nothing_of_a_cluster_to_forget(tmp_path: Path) -> None:
    path = tmp_path / "sesame.db"
    engine = sqlite.write_engine(path, durable=True)
    with engine.connect() as connection:
        config = Config()
        config.set_main_option("script_location", str(MIGRATIONS))
        config.attributes["connection"] = connection
        command.upgrade(config, "0009")
        connection.execute(sa.insert(counters).values(name=PAIR, value=7))
        connection.commit()
    engine.dispose()
    make_own(path)
    assert PAIR not in [row[0] for row in rows_of(path, counters)]
