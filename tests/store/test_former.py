"""The copy of a database before its upgrade: made, kept, taken back, and whole after kill -9 at any moment."""

import asyncio
import os
import shutil
import signal
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from unittest import mock

import msgspec
import pytest
import sqlalchemy as sa
from click.testing import CliRunner
from structlog.testing import capture_logs
from tests.support import forked
from tests.support.earlier import set_back

from sesame.cli.db import db
from sesame.model.errors import ConfigurationError
from sesame.store.catalog import Catalog, Transaction
from sesame.store.sql import former, migrate
from sesame.store.sql.backends import backend_of
from sesame.store.sql.database import Database
from sesame.store.sql.migrate import newest_migration

BEFORE = "0013"


class Named(msgspec.Struct, frozen=True):
    name: str


async def with_records(path: Path, *names: str) -> None:
    database = Database(path)
    await database.open()
    catalog = Catalog(database, {"named": Named})
    await catalog.open()

    def edit(tx: Transaction) -> None:
        for name in names:
            tx.put("named", "", name, Named(name))

    await catalog.edit(edit)
    await database.close()


def names(path: Path) -> list[str]:
    with closing(sqlite3.connect(path)) as connection:
        return [name for (name,) in connection.execute("SELECT name FROM records ORDER BY name")]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A database that a version before has left."""
    path = tmp_path / "sesame.db"
    asyncio.run(with_records(path, "a", "b"))
    set_back(path, BEFORE)
    return path


def upgrade(path: Path) -> None:
    asyncio.run(with_records(path, "c"))


def test_before_an_upgrade_a_copy_is_kept_and_said(path: Path) -> None:
    with capture_logs() as logs:
        upgrade(path)
    copy = path.with_name("sesame.db.0013")
    assert former.copies(path) == [copy]
    assert (former.revision_in(copy), former.revision_in(path)) == (BEFORE, newest_migration())
    assert (names(copy), names(path)) == (["a", "b"], ["a", "b", "c"])
    assert copy.stat().st_mode & 0o777 == 0o600
    said = [each for each in logs if each["event"] == "the database is copied before it is upgraded"]
    assert [each["copy"] for each in said] == [str(copy)]
    with capture_logs() as logs:
        upgrade(path)
    assert former.copies(path) == [copy]
    assert not [each for each in logs if "copied" in each["event"]], "only where migrations are lacking"


def test_what_its_log_holds_is_in_the_copy(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode=WAL").fetchall()
        connection.execute("DELETE FROM records WHERE name = 'a'")
        connection.commit()
        shutil.copy(path, path.with_name("killed.db"))
        shutil.copy(path.with_name("sesame.db-wal"), path.with_name("killed.db-wal"))
    killed = path.with_name("killed.db")
    upgrade(killed)
    assert (names(killed.with_name("killed.db.0013")), names(killed)) == (["b"], ["b", "c"])


def test_the_copies_of_the_last_upgrades_are_kept(path: Path) -> None:
    for old in ("0007", "0008"):
        shutil.copy(path, path.with_name(f"sesame.db.{old}"))
    path.with_name("sesame.db.note").touch()
    upgrade(path)
    assert [former.revision_of(each) for each in former.copies(path)] == ["0008", BEFORE]
    assert path.with_name("sesame.db.note").exists()


def test_without_room_for_it_nothing_is_changed(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = 2 * path.stat().st_size
    usage = shutil.disk_usage(path)._replace(free=wanted - 1)
    monkeypatch.setattr(shutil, "disk_usage", lambda _place: usage)
    before = path.read_bytes()
    with pytest.raises(ConfigurationError, match=r"is to be upgraded from schema 0013 .* free some space"):
        former.require_room(path)
    with pytest.raises(ConfigurationError, match="free some space"):
        upgrade(path)
    assert (path.read_bytes(), former.copies(path)) == (before, [])
    monkeypatch.setattr(shutil, "disk_usage", lambda _place: usage._replace(free=wanted))
    upgrade(path)


def dies(*_given: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def killed_while_it_copies(path: str) -> None:
    with mock.patch.object(former, "sync_file", dies):
        backend_of(path).prepare()


def killed_while_it_migrates(path: str) -> None:
    upgrades = migrate.upgrade

    def upgrades_and_dies(connection: sa.Connection, shown: str) -> None:
        upgrades(connection, shown)
        dies()

    with mock.patch.object(migrate, "upgrade", upgrades_and_dies):
        backend_of(path).prepare()


@pytest.mark.parametrize("killed", [killed_while_it_copies, killed_while_it_migrates])
def test_after_a_kill_in_its_midst_the_next_start_upgrades(path: Path, killed: Callable[[str], None]) -> None:
    child, _said = forked.call(f"tests.store.test_former:{killed.__name__}", str(path))
    assert child.wait() == -signal.SIGKILL
    assert names(path) == ["a", "b"]
    assert former.revision_in(path, "rw") == BEFORE
    assert bool(former.copies(path)) == (killed is killed_while_it_migrates)
    upgrade(path)
    assert names(path) == ["a", "b", "c"]
    (copy,) = former.copies(path)
    assert names(copy) == ["a", "b"]
    assert not list(path.parent.glob("*.partial"))


def back(path: Path, *words: str) -> str:
    done = CliRunner().invoke(db, ["back", *words, "--data-dir", str(path.parent)])
    if done.exception is not None:
        raise done.exception
    return done.output


def test_a_copy_is_taken_back_and_what_was_there_is_kept(path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"from before an upgrade; there are: none. `sesame restore`"):
        back(path)
    upgrade(path)
    said = back(path)
    assert "at schema 0013" in said.replace("\n", " ")
    assert (names(path), former.revision_in(path)) == (["a", "b"], BEFORE)
    kept = path.with_name(f"sesame.db.{newest_migration()}")
    assert names(kept) == ["a", "b", "c"]
    # And forth.
    back(path, newest_migration())
    assert names(path) == ["a", "b", "c"]
    assert [former.revision_of(each) for each in former.copies(path)] == [BEFORE]
    with pytest.raises(ConfigurationError, match="upgrade of schema 0009; there are: 0013"):
        back(path, "0009")


def killed_while_it_goes_back(path: str) -> None:
    with mock.patch.object(former, "sync_folder", dies):
        former.take_back(Path(path), Path(f"{path}.{BEFORE}"))


def test_after_a_kill_while_it_goes_back_one_of_both_is_there(path: Path) -> None:
    upgrade(path)
    child, _said = forked.call("tests.store.test_former:killed_while_it_goes_back", str(path))
    assert child.wait() == -signal.SIGKILL
    assert names(path) == ["a", "b", "c"]
    back(path)
    assert names(path) == ["a", "b"]
