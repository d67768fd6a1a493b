"""A Sesame whose records are in PostgreSQL: it starts, keeps them, and refuses what does not belong together.

Run by pytest. Starts a whole Sesame (driver `plain`).
"""

import asyncio
from pathlib import Path

import pytest
from click.testing import CliRunner
from tests.support.data_directory import Stores
from tests.support.postgresql import Server
from tests.support.starts import refused, start_and_stop

from sesame.cli import main
from sesame.cli.db import db
from sesame.cli.doctor import doctor
from sesame.model.errors import ConfigurationError
from sesame.settings import load
from sesame.store.sql.pairing import PAIR_FILE

pytestmark = pytest.mark.usefixtures("few_runtimes")


def copied(source: Path | str, target: Path | str) -> str:
    done = CliRunner().invoke(db, ["copy", str(source), str(target)])
    assert done.exit_code == 0, done.output
    return done.output


async def test_a_new_directory_and_an_empty_database_belong_together_from_the_first_start_on(
    tmp_path: Path, postgresql_url: str, postgresql_server: Server
) -> None:
    data = tmp_path / "data"
    account = await start_and_stop(data, postgresql_url)
    assert await start_and_stop(data, postgresql_url) == account
    assert not (data / "sesame.db").exists()
    assert "pass" not in (data / PAIR_FILE).read_text()
    await refused(
        data, None, None, r"are in postgresql://sesame@.*name that database with --database, or bring them back"
    )
    await refused(
        tmp_path / "other", postgresql_url, None, "belongs to another data directory than .*which has no database.json"
    )
    other = postgresql_server.create()
    assert await start_and_stop(tmp_path / "second", postgresql_server.url(other)) != account
    await refused(data, postgresql_server.url(other), None, "name those that belong together")
    # Moved together, they still do.
    moved = postgresql_server.create(postgresql_url.rpartition("/")[2])
    data.rename(tmp_path / "elsewhere")
    assert await start_and_stop(tmp_path / "elsewhere", postgresql_server.url(moved)) == account
    for name in (other, moved):
        postgresql_server.drop(name)


async def test_a_start_that_was_killed_between_the_two_numbers_is_made_up_for(
    tmp_path: Path, postgresql_url: str, postgresql_server: Server
) -> None:
    account = await start_and_stop(tmp_path / "data", postgresql_url)
    name = postgresql_url.rpartition("/")[2]
    postgresql_server.sql("DELETE FROM counters WHERE name = 'data_directory'", name)
    assert await start_and_stop(tmp_path / "data", postgresql_url) == account
    await refused(tmp_path / "other", postgresql_url, None, "belongs to another data directory")


@pytest.mark.thorough
def test_records_move_to_postgresql_and_back_with_a_sesame_on_each_end(data: Path, postgresql_url: str) -> None:
    account = asyncio.run(start_and_stop(data, None))
    told = copied(data, postgresql_url)
    assert "rows copied and compared" in told
    assert asyncio.run(start_and_stop(data, postgresql_url)) == account
    asyncio.run(refused(data, None, None, "are in postgresql://"))
    (data / "sesame.db").rename(data / "former.db")
    copied(postgresql_url, data)
    assert asyncio.run(start_and_stop(data, None)) == account

    async def read() -> bytes:
        stores = Stores(data)
        await stores.open()
        found = await stores.read("small")
        await stores.close()
        return found

    assert asyncio.run(read()) == b"small"


async def test_the_wrong_directory_for_records_that_name_files_is_refused(
    data: Path, tmp_path: Path, postgresql_url: str
) -> None:
    await asyncio.to_thread(copied, data, postgresql_url)
    await refused(
        tmp_path / "new", postgresql_url, None, "has objects or functions, but the data directory .* holds neither"
    )
    await start_and_stop(data, postgresql_url)


LOST = {
    "emptied": ("DELETE FROM records; DELETE FROM objects", "holds no records, but 6 files of objects"),
    "made anew": ("DROP SCHEMA public CASCADE; CREATE SCHEMA public", "is empty, but 6 files of objects and 2 code"),
    "of another program": (
        "DROP SCHEMA public CASCADE; CREATE SCHEMA public; CREATE TABLE bookmarks (url text)", "bookmarks",
    ),
    "without counters": ("DELETE FROM counters", "cannot be used: No row was found"),
    "of a newer Sesame": ("UPDATE alembic_version SET version_num = '9999'", "newer Sesame"),
    "an unknown kind": ("UPDATE records SET kind = 'queue'", "unknown kind 'queue'"),
    "a damaged document": ("UPDATE records SET document = '\\x7b22ff'", "cannot be read"),
}  # fmt: skip


@pytest.mark.parametrize(
    "damage",
    [pytest.param(each, marks=() if each in ("emptied", "made anew") else pytest.mark.thorough) for each in LOST],
)
def test_a_database_that_was_lost_is_refused_and_nothing_is_touched(
    damage: str, data: Path, postgresql_url: str, postgresql_server: Server
) -> None:
    copied(data, postgresql_url)
    for path in data.glob("sesame.db*"):
        path.unlink()
    statement, says = LOST[damage]
    postgresql_server.sql(statement, postgresql_url.rpartition("/")[2])
    files = {path: path.read_bytes() for path in data.rglob("*") if path.is_file()}
    for _start in range(2):
        asyncio.run(refused(data, postgresql_url, None, says))
    assert {path: path.read_bytes() for path in files} == files


def test_what_cannot_be_copied_is_refused(data: Path, tmp_path: Path, postgresql_url: str) -> None:
    def says(*arguments: str) -> str:
        done = CliRunner().invoke(db, ["copy", *arguments])
        assert done.exit_code != 0
        return str(done.exception)

    assert "there is nothing to copy" in says(str(tmp_path / "none"), postgresql_url)
    assert "expected postgresql://" in says("mysql://u:secret@h/d", postgresql_url)
    assert "secret" not in says("mysql://u:secret@h/d", postgresql_url)
    copied(data, postgresql_url)
    assert "holds records already" in says(str(data), postgresql_url)
    assert "holds records already" in says(postgresql_url, str(data))


def test_doctor_says_whether_the_database_can_be_used(tmp_path: Path, postgresql_url: str) -> None:
    good = CliRunner().invoke(doctor, ["--data-dir", str(tmp_path), "--database", postgresql_url, "--sandbox", "plain"])
    assert "PostgreSQL" in good.output
    bad = CliRunner().invoke(
        doctor, ["--data-dir", str(tmp_path), "--database", "postgresql://u:secret@127.0.0.1:1/d", "--sandbox", "plain"]
    )
    assert bad.exit_code == 1
    assert "Check that PostgreSQL runs there" in bad.output.replace("\n", " ")
    assert "secret" not in bad.output


@pytest.mark.parametrize("value", ["", "mydb", "mysql://u:secret@h/d", "postgresql:mydb"])
def test_a_setting_that_is_no_url_of_postgresql_is_refused_without_being_repeated(value: str) -> None:
    with pytest.raises(ConfigurationError, match="database is no URL of PostgreSQL; expected postgresql://") as told:
        load({"database": value}, {})
    assert "secret" not in str(told.value)


def test_the_command_is_listed() -> None:
    assert "db" in main.COMMANDS
