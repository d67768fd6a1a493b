"""`sesame backup` and `sesame restore`: a copy as of one moment, complete or visibly not, and verified on its way back.

Run by pytest.
"""

import asyncio
import fcntl
import os
import shutil
import signal
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner
from tests.support import forked
from tests.support.data_directory import Stores, fill
from tests.support.databases import FILE_FIRST
from tests.support.earlier import set_back

from sesame.cli.backup import backup, restore
from sesame.data_dir import DataDir
from sesame.model.errors import ConfigurationError
from sesame.store.sql import sqlite
from sesame.store.sql.copying import copy_file
from sesame.store.upkeep.backup import back_up
from sesame.store.upkeep.backup import restore as restore_from
from sesame.store.upkeep.check import check
from sesame.store.upkeep.damage import Checked
from sesame.store.upkeep.manifest import MANIFEST, CopiedFile, Manifest

# Of a directory in use.
COPIES, CHANGES_TO_A_COPY = 3, 7


def sound(data: Path, database: str | None = None) -> bool:
    return [damage for damage in check(DataDir(data, database), Checked(), running=False) if not damage.harmless] == []


async def contents(data: Path, database: str | None = None) -> dict[str, bytes]:
    stores = Stores(data, database)
    await stores.open()
    found = {}
    for key in ("small", "large", "empty", "log", "joined"):
        reader = await stores.objects.open_reader("photos", key)
        assert reader is not None
        found[key] = await reader.read(0, reader.stored.size)
        reader.close()
    for sha256 in stores.packages.folder.all():
        lease = await stores.packages.lease([sha256])
        for path in lease.code_dirs[0].rglob("*"):
            if path.is_file():
                found[str(path.relative_to(lease.code_dirs[0]))] = path.read_bytes()
    await stores.close()
    return found


def test_a_restored_backup_equals_the_original(whole: Path, tmp_path: Path) -> None:
    made = CliRunner().invoke(backup, [str(tmp_path / "copy"), "--data-dir", str(whole)])
    assert made.exit_code == 0, made.output
    taken = CliRunner().invoke(restore, [str(tmp_path / "copy"), "--data-dir", str(tmp_path / "new")])
    assert taken.exit_code == 0, taken.output
    assert sound(tmp_path / "new")
    assert asyncio.run(contents(tmp_path / "new")) == asyncio.run(contents(whole))
    modes = [(tmp_path / "new" / name).stat().st_mode & 0o077 for name in (".", "sesame.db", "objects")]
    assert modes == [0, 0, 0]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["copy", "new"]


@pytest.mark.parametrize("schema", ["0002", "0004", "0008", "0013"])
def test_a_directory_of_an_earlier_version_is_checked_and_backed_up_before_its_upgrade(
    whole: Path, tmp_path: Path, schema: str
) -> None:
    """The backup has the earlier database, for the version that wrote it."""
    before = asyncio.run(contents(whole))
    data = tmp_path / "data"
    shutil.copytree(whole, data)
    set_back(data / "sesame.db", schema)
    digest = (data / "sesame.db").read_bytes()
    assert sound(data)
    manifest = back_up(DataDir(data), tmp_path / "copy")
    assert manifest.schema == schema
    assert (data / "sesame.db").read_bytes() == digest
    restore_from(tmp_path / "copy", DataDir(tmp_path / "new"))
    assert sound(tmp_path / "new")
    with closing(sqlite3.connect(tmp_path / "new" / "sesame.db")) as connection:
        assert connection.execute("SELECT version_num FROM alembic_version").fetchone() == (schema,)
    assert asyncio.run(contents(tmp_path / "new")) == before
    assert sound(tmp_path / "new")


def test_a_backup_of_an_earlier_version_goes_to_a_database_elsewhere(
    whole: Path, tmp_path: Path, postgresql_url: str
) -> None:
    data = tmp_path / "data"
    shutil.copytree(whole, data)
    set_back(data / "sesame.db", "0008")
    back_up(DataDir(data), tmp_path / "copy")
    restore_from(tmp_path / "copy", DataDir(tmp_path / "new", postgresql_url))
    assert sound(tmp_path / "new", postgresql_url)


def test_a_backup_of_a_newer_version_is_refused_before_anything_is_restored(whole: Path, tmp_path: Path) -> None:
    back_up(DataDir(whole), tmp_path / "copy")
    path = tmp_path / "copy" / MANIFEST
    manifest = msgspec.json.decode(path.read_bytes(), type=Manifest)
    path.write_bytes(msgspec.json.encode(msgspec.structs.replace(manifest, schema="9999", sesame="9.9")))
    with pytest.raises(ConfigurationError, match=r"a newer Sesame, 9\.9 .*restore it with that version"):
        restore_from(tmp_path / "copy", DataDir(tmp_path / "new"))
    assert not (tmp_path / "new").exists()


def test_a_backup_goes_from_and_to_a_database_elsewhere(whole: Path, tmp_path: Path, postgresql_url: str) -> None:
    elsewhere = ["--database", postgresql_url]
    run = CliRunner().invoke
    assert run(backup, [str(tmp_path / "first"), "--data-dir", str(whole)]).exit_code == 0
    taken = run(restore, [str(tmp_path / "first"), "--data-dir", str(tmp_path / "new"), *elsewhere])
    assert taken.exit_code == 0, taken.output
    assert not list((tmp_path / "new").glob("sesame.db*"))
    assert sound(tmp_path / "new", postgresql_url)
    made = run(backup, [str(tmp_path / "second"), "--data-dir", str(tmp_path / "new"), *elsewhere])
    assert made.exit_code == 0, made.output
    restore_from(tmp_path / "second", DataDir(tmp_path / "third"))
    assert sound(tmp_path / "third")
    expected = asyncio.run(contents(whole))
    assert asyncio.run(contents(tmp_path / "third")) == expected
    assert asyncio.run(contents(tmp_path / "new", postgresql_url)) == expected
    refused = run(restore, [str(tmp_path / "second"), "--data-dir", str(tmp_path / "fourth"), *elsewhere])
    assert isinstance(refused.exception, ConfigurationError)
    assert "holds records already" in str(refused.exception)
    assert not (tmp_path / "fourth").exists()


@FILE_FIRST
async def test_a_directory_in_use_is_copied_as_of_one_moment(tmp_path: Path, place: Path | str) -> None:
    stores = Stores(tmp_path / "data", place if isinstance(place, str) else None)
    await stores.open()
    await fill(stores)
    loop, length, made = asyncio.get_running_loop(), 23, 0

    async def change() -> None:
        """One of three changes. Two objects change in one order: a copy never has the second without the first."""
        nonlocal length, made
        turn, which = divmod(made, 3)
        made += 1
        if which == 2:
            length = (await stores.append("log", b"more\n", length)).size
        else:
            await stores.put(("small", "empty")[which], b"%08d" % (turn + 1))

    for number in range(COPIES):
        until = made + CHANGES_TO_A_COPY

        def progress(_text: str, until: int = until) -> None:
            """Before each step of the copy, for as long as there are changes to make: then it comes to an end."""
            if made < until:
                asyncio.run_coroutine_threadsafe(change(), loop).result(60)

        await asyncio.to_thread(back_up, stores.data_dir, tmp_path / f"copy-{number}", progress)
        assert made == until
        new = tmp_path / f"new-{number}"
        restore_from(tmp_path / f"copy-{number}", DataDir(new))
        assert sound(new)
        read = await contents(new)
        assert int(read["small"] if read["small"] != b"small" else 0) - int(read["empty"] or 0) in (0, 1)
    await stores.close()


@pytest.mark.parametrize("lost", ["blob", "archive"])
def test_what_is_damaged_is_named_and_nothing_is_left(whole: Path, tmp_path: Path, lost: str) -> None:
    data = tmp_path / "data"
    shutil.copytree(whole, data)
    pattern = "objects/data/*/*" if lost == "blob" else "packages/*/archive.zip"
    victim = next(path for path in data.glob(pattern) if path.stat().st_size > 0)
    victim.write_bytes(b"damaged")
    with pytest.raises(ConfigurationError, match=r"is damaged.*doctor --check"):
        back_up(DataDir(data), tmp_path / "copy")
    victim.unlink()
    with pytest.raises(ConfigurationError, match=r"is missing.*doctor --check"):
        back_up(DataDir(data), tmp_path / "copy")
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


def test_a_damaged_database_is_not_copied(whole: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    shutil.copytree(whole, data)
    (data / "sesame.db").write_bytes(b"text " * 2000)
    with pytest.raises(ConfigurationError, match="doctor --check"):
        back_up(DataDir(data), tmp_path / "copy")
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


def test_a_place_without_room_is_no_damage(whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def copies(source: Path, target: Path) -> None:
        with closing(sqlite3.connect(target)) as connection:
            connection.execute("PRAGMA max_page_count=1")
            connection.executescript("CREATE TABLE a (b); CREATE TABLE c (d)")

    monkeypatch.setattr(sqlite, "copy_database", copies)
    with pytest.raises(ConfigurationError, match=f"disk is full; make room at {tmp_path}"):
        copy_file(whole / "sesame.db", tmp_path / "copy.db")


def test_existing_targets_are_refused(whole: Path, tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    with pytest.raises(ConfigurationError, match="already exists"):
        back_up(DataDir(whole), tmp_path / "there")
    with pytest.raises(ConfigurationError, match="inside the data directory"):
        back_up(DataDir(whole), whole / "copy")
    with pytest.raises(ConfigurationError, match="holds no database"):
        back_up(DataDir(tmp_path / "none"), tmp_path / "copy")
    back_up(DataDir(whole), tmp_path / "copy")
    with pytest.raises(ConfigurationError, match="is not empty"):
        restore_from(tmp_path / "copy", DataDir(whole))
    with pytest.raises(ConfigurationError, match="inside the backup"):
        restore_from(tmp_path / "copy", DataDir(tmp_path / "copy" / "new"))
    restore_from(tmp_path / "copy", DataDir(tmp_path / "there"))
    assert sound(tmp_path / "there")


@pytest.fixture
def copy(whole: Path, tmp_path: Path) -> Path:
    back_up(DataDir(whole), tmp_path / "copy")
    return tmp_path / "copy"


def rewritten(copy: Path, **changes: object) -> None:
    manifest = msgspec.json.decode((copy / MANIFEST).read_bytes(), type=Manifest)
    (copy / MANIFEST).write_bytes(msgspec.json.encode(msgspec.structs.replace(manifest, **changes)))


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda copy: (copy / MANIFEST).unlink(), "not a complete backup"),
        (lambda copy: (copy / MANIFEST).write_text("{"), "cannot be read"),
        (lambda copy: rewritten(copy, format=9), "in format 9"),
        (lambda copy: rewritten(copy, files=[]), "lists no sesame.db"),
        (lambda copy: (copy / "sesame.db").open("ab").write(b"x"), "sesame.db is damaged"),
        (lambda copy: next(copy.glob("blobs/*/*")).write_bytes(b"other"), "is damaged: found 5 bytes"),
        (lambda copy: next(copy.glob("blobs/*/*")).unlink(), "is missing: this backup is damaged"),
        (lambda copy: next(copy.glob("packages/*")).write_bytes(b"other"), "is damaged"),
        (lambda copy: shutil.rmtree(copy), "does not exist: name a directory that `sesame backup` made"),
    ],
)  # fmt: skip
def test_a_damaged_backup_leaves_nothing(copy: Path, tmp_path: Path, damage: object, says: str) -> None:
    damage(copy)  # type: ignore[operator]
    with pytest.raises(ConfigurationError, match=says):
        restore_from(copy, DataDir(tmp_path / "new"))
    assert [path.name for path in tmp_path.iterdir() if path != copy] == []


@pytest.mark.parametrize("path", ["../../evil", "/etc/evil", "blobs/../../x", "packages/x.zip", "objects/a", "blobs/a"])
def test_a_backup_cannot_write_elsewhere(copy: Path, tmp_path: Path, path: str) -> None:
    manifest = msgspec.json.decode((copy / MANIFEST).read_bytes(), type=Manifest)
    rewritten(copy, files=[*manifest.files, CopiedFile(path, 0, "0" * 64)])
    with pytest.raises(ConfigurationError, match="not part of a backup"):
        restore_from(copy, DataDir(tmp_path / "new"))
    assert [path.name for path in tmp_path.iterdir()] == ["copy"]


def main(data: str, target: str, until: str) -> None:
    """Makes so many steps of a backup, says so, and waits to be killed; or comes to its end."""
    left = iter(range(int(until)))

    def progress(_text: str) -> None:
        if next(left, None) is None:
            print("here", flush=True)
            signal.pause()

    back_up(DataDir(Path(data)), Path(target), progress)


def test_a_backup_that_was_killed_is_not_there(whole: Path, tmp_path: Path) -> None:
    """Killed before each of its steps, until there is none left."""
    target, steps = tmp_path / "copy", 0
    while not target.exists():
        child, said = forked.call("tests.store.test_backup:main", str(whole), str(target), str(steps))
        with said:
            if said.readline():
                assert not target.exists()
                child.kill()
                assert child.wait() == -signal.SIGKILL
                steps += 1
            else:
                assert child.wait() == 0
    assert steps > 8, "a database, six objects, two code packages"
    restore_from(target, DataDir(tmp_path / "new"))
    assert sound(tmp_path / "new")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["copy", "new"]


def test_a_backup_where_nothing_can_be_written_says_the_next_step(whole: Path) -> None:
    with pytest.raises(ConfigurationError, match="name another directory than /proc/copy"):
        back_up(DataDir(whole), Path("/proc/copy"))


def test_what_a_killed_backup_left_is_removed_by_the_next_and_a_living_one_is_not(whole: Path, tmp_path: Path) -> None:
    target = tmp_path / "copy"
    (tmp_path / ".copy.partial-00000000" / "blobs").mkdir(parents=True)
    (tmp_path / ".copy-2.partial-00000000").mkdir()
    living = tmp_path / ".copy.partial-11111111"
    living.mkdir()
    with flocked(living):
        back_up(DataDir(whole), target)
    assert {path.name for path in tmp_path.iterdir()} == {"copy", living.name, ".copy-2.partial-00000000"}
    shutil.rmtree(target)
    back_up(DataDir(whole), target)
    assert not living.exists()


@contextmanager
def flocked(folder: Path) -> Iterator[None]:
    descriptor = os.open(folder, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    yield
    os.close(descriptor)


def test_logs_are_copied_too(whole: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    shutil.copytree(whole, data)
    with closing(sqlite3.connect(data / "logs.db")) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("CREATE TABLE t (x)")
        connection.execute("INSERT INTO t VALUES (7)")
        connection.commit()
        back_up(DataDir(data), tmp_path / "copy")
    restore_from(tmp_path / "copy", DataDir(tmp_path / "new"))
    with closing(sqlite3.connect(tmp_path / "new" / "logs.db")) as connection:
        assert connection.execute("SELECT x FROM t").fetchall() == [(7,)]
