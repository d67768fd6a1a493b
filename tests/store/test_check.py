"""`sesame doctor --check`: a sound data directory passes, and every kind of damage that is planted is found.

Run by pytest.
"""

import asyncio
import os
import re
import shutil
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import CliRunner
from tests.support.data_directory import Stores, fill
from tests.support.postgresql import Server

from sesame.cli.doctor import doctor
from sesame.data_dir import DataDir
from sesame.store.sql.copying import copy_database
from sesame.store.upkeep.check import check
from sesame.store.upkeep.damage import Checked, Damage


def found(data: Path, *, running: bool = False) -> list[Damage]:
    return list(check(DataDir(data), Checked(), running=running))


def test_a_sound_directory_with_a_database_elsewhere_passes(data: Path, postgresql_url: str) -> None:
    data_dir, checked = moved(data, postgresql_url), Checked()
    assert list(check(data_dir, checked, running=False)) == []
    assert (checked.records, checked.blobs, checked.packages) == (4, 6, 2)
    done = CliRunner().invoke(doctor, ["--check", "--data-dir", str(data), "--database", postgresql_url])
    assert done.exit_code == 0, done.output


def test_a_sound_directory_passes_and_is_not_changed(data: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in data.rglob("*") if "-shm" not in path.name}
    checked = Checked()
    assert list(check(DataDir(data), checked, running=False)) == []
    assert (checked.records, checked.blobs, checked.packages) == (4, 6, 2)
    after = {path: path.stat().st_mtime_ns for path in data.rglob("*") if "-shm" not in path.name}
    assert {path: at for path, at in after.items() if path in before and path.is_file()} == {
        path: at for path, at in before.items() if path.is_file()
    }


def test_a_directory_of_others_is_no_sound_data_directory(tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    assert [each.harmless for each in found(other)] == [True]
    (other / "passwd").touch()
    (line,) = found(other)
    assert "is not a data directory" in line.what
    assert not line.harmless
    done = CliRunner().invoke(doctor, ["--check", "--data-dir", str(other)])
    assert done.exit_code == 1, done.output


def test_what_only_some_starts_make_is_no_stray(data: Path) -> None:
    for name in ("authority", "images", "nas"):
        (data / name).mkdir()
    assert found(data) == []


def blob(data: Path, key: str) -> Path:
    with closing(sqlite3.connect(data / "sesame.db")) as connection:
        rows = connection.execute("SELECT blob FROM objects WHERE key = ?", (key.encode(),)).fetchone()
        name = rows[0] if rows else connection.execute("SELECT blob FROM object_parts").fetchone()[0]
    path = data / "objects" / "data" / name[:2] / name
    assert path.is_file()
    return path


def stray(data: Path, name: str) -> Path:
    """Where a blob of this name would be."""
    path = data / "objects" / "data" / name[:2] / name
    path.parent.mkdir(exist_ok=True)
    return path


def package(data: Path, *, layer: bool = False) -> Path:
    (folder,) = [
        path
        for path in (data / "packages").iterdir()
        if (path / "code" / "python").is_dir() is layer and len(path.name) == 64
    ]
    return folder


def sql(data: Path, *statements: str) -> None:
    with closing(sqlite3.connect(data / "sesame.db", isolation_level=None)) as connection:
        for statement in statements:
            assert connection.execute(statement).rowcount != 0


def flip(path: Path, at: int = 2) -> None:
    raw = bytearray(path.read_bytes())
    raw[at] ^= 1
    path.write_bytes(raw)


def zero_a_page(path: Path, number: int) -> None:
    with path.open("r+b") as file:
        file.seek(4096 * number)
        file.write(bytes(4096))


def move(path: Path, target: Path) -> None:
    target.parent.mkdir(exist_ok=True)
    path.rename(target)


DAMAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "an object's file is gone": (lambda d: blob(d, "small").unlink(), "object 'small' in bucket 'photos'.*is missing"),
    "a bit of an object": (lambda d: flip(blob(d, "large"), 70_000), "object 'large'.*CRC-64 differs"),
    "an object cut off": (lambda d: os.truncate(blob(d, "large"), 100), "has 100 bytes instead of 1280000"),
    "an object grown": (lambda d: blob(d, "small").open("ab").write(b"x"), "has 6 bytes instead of 5"),
    "an empty object grown": (lambda d: blob(d, "empty").write_bytes(b"x"), "has 1 bytes instead of 0"),
    "an appended object cut off": (lambda d: os.truncate(blob(d, "log"), 12), "'log'.*has 12 bytes instead of 23"),
    "a bit of an appended object": (lambda d: flip(blob(d, "log"), 15), "object 'log'.*CRC-64"),
    "a joined object": (lambda d: flip(blob(d, "joined"), 9), "object 'joined'.*CRC-64"),
    "a part's file is gone": (lambda d: blob(d, "film").unlink(), "part 1 of an upload of 'film'.*is missing"),
    "a bit of a part": (lambda d: flip(blob(d, "film")), "part 1 of an upload.*CRC-64"),
    "an object in the wrong folder": (
        lambda d: move(blob(d, "small"), d / "objects" / "data" / "zz" / "x"), "object 'small'.*is missing",
    ),
    "an object that is a folder": (lambda d: (p := blob(d, "small")).unlink() or p.mkdir(), "is not a file"),
    "a file of no row": (lambda d: stray(d, "abc").touch(), "no row of the database mentions"),
    "the md5 of a row": (lambda d: sql(d, "UPDATE objects SET etag = 'X' WHERE key = x'736d616c6c'"), "MD5 differs"),
    "the size of a row": (lambda d: sql(d, "UPDATE objects SET size = 7 WHERE size = 5"), "has 5 bytes instead of 7"),
    "a row of no kind": (lambda d: sql(d, "UPDATE objects SET kind = 'Odd' WHERE size = 5"), "'Odd' is not a valid"),
    "a row without meaning": (lambda d: sql(d, "UPDATE objects SET meta = x'00' WHERE size = 5"), "cannot be read"),
    "a row is gone": (lambda d: sql(d, "DELETE FROM objects WHERE size = 5"), "1 files of objects that no row"),
    "all rows are gone": (lambda d: sql(d, "DELETE FROM objects"), "5 files of objects that no row"),
    "an upload is gone": (lambda d: sql(d, "DELETE FROM object_uploads"), "part 1 of upload-1 belongs to no upload"),
    "a bucket is gone": (lambda d: sql(d, "DELETE FROM records WHERE kind = 'bucket'"), "bucket 'photos' has objects"),
    "a service is gone": (
        lambda d: sql(d, "DELETE FROM records WHERE kind = 'service'"), "function 's/f' belongs to a service",
    ),
    "a layer is gone": (
        lambda d: sql(d, "DELETE FROM records WHERE kind = 'layer_version'"), "has the layer .*, which does not exist",
    ),
    "a function is gone": (
        lambda d: sql(d, "DELETE FROM records WHERE kind = 'function'"), "1 code packages that no record names",
    ),
    "all records are gone": (lambda d: sql(d, "DELETE FROM records"), "holds no records"),
    "a document without meaning": (
        lambda d: sql(d, "UPDATE records SET document = x'7b' WHERE kind = 'function'"), "function 'f'.*cannot be read",
    ),
    "the database is gone": (lambda d: (d / "sesame.db").unlink(), "sesame.db: it is missing"),
    "the database is empty": (lambda d: (d / "sesame.db").write_bytes(b""), "sesame.db: it is empty"),
    "the database is cut off": (lambda d: os.truncate(d / "sesame.db", 4096 * 5), "malformed"),
    "the database is text": (lambda d: (d / "sesame.db").write_text("text " * 1000), "not a database"),
    "a page of the database": (lambda d: zero_a_page(d / "sesame.db", 2), "sesame.db: .*"),
    "a newer database": (lambda d: sql(d, "UPDATE alembic_version SET version_num = '9'"), "newer.*found schema 9,"),
    "a package is gone": (lambda d: shutil.rmtree(package(d)), "of function 's/f': its archive cannot be read"),
    "a layer's package is gone": (lambda d: shutil.rmtree(package(d, layer=True)), "of layer_version 'tools/1'"),
    "an archive is gone": (lambda d: (package(d) / "archive.zip").unlink(), "its archive cannot be read"),
    "a bit of an archive": (lambda d: flip(package(d) / "archive.zip", 40), "SHA-256 differs"),
    "another archive": (
        lambda d: shutil.copy(package(d, layer=True) / "archive.zip", package(d) / "archive.zip"), "SHA-256 differs",
    ),
    "a package's directory is gone": (lambda d: shutil.rmtree(package(d) / "code"), "its directory is gone"),
    "a file of a package": (lambda d: flip(package(d) / "code" / "index.py"), "code/index.py has other bytes"),
    "a file of a package is gone": (lambda d: (package(d) / "code" / "data" / "a.txt").unlink(), "a.txt is missing"),
    "a file too many": (lambda d: (package(d) / "code" / "new.py").touch(), "code/new.py does not belong there"),
    "a mode of a package": (lambda d: (package(d) / "code" / "bin" / "tool").chmod(0o644), "has mode 644 instead of"),
    "a link in a package": (
        lambda d: (p := package(d) / "code" / "index.py").unlink() or p.symlink_to("/etc/passwd"), "is of another kind",
    ),
    "the checksum of a record": (
        lambda d: sql(
            d, "UPDATE records SET document = CAST(replace(document, '\"sizeBytes\":', '\"sizeBytes\":1') AS BLOB)"
        ),
        "another checksum or size",
    ),
    "a package of no record": (lambda d: (d / "packages" / ("e" * 64)).mkdir(), "code packages that no record names"),
    "objects is a file": (
        lambda d: shutil.rmtree(d / "objects") or (d / "objects").touch(), "objects is a file, expected a directory",
    ),
    "quarantine is a file": (lambda d: (d / "quarantine").touch(), "quarantine is a file, expected a directory"),
    "sandboxes is a file": (lambda d: (d / "sandboxes").touch(), "sandboxes is a file, expected a directory"),
    "drafts is a file": (
        lambda d: (d / "objects" / "drafts").rmdir() or (d / "objects" / "drafts").touch(), "drafts is a file",
    ),
    "staging is a pipe": (
        lambda d: (d / "packages" / "staging").rmdir() or os.mkfifo(d / "packages" / "staging"),
        "staging is a special file, expected a directory",
    ),
    "packages leads nowhere": (
        lambda d: shutil.rmtree(d / "packages") or (d / "packages").symlink_to(d / "nowhere"),
        "packages is a link that leads nowhere",
    ),
    "lock is a directory": (lambda d: (d / "lock").mkdir(), "lock is a directory, expected a file"),
    "the key's file is a directory": (
        lambda d: (d / "credentials.json").mkdir(), "credentials.json is a directory, expected a file",
    ),
    "logs.db is text": (lambda d: (d / "logs.db").write_text("text " * 1000), "logs.db: file is not a database"),
}  # fmt: skip


# What only a database in a file can have, or what is not copied from one.
OF_THE_FILE = frozenset(
    {*(kind for kind in DAMAGE if kind.startswith("the database is")), "a page of the database", "a newer database"}
) | {"all records are gone"}


@pytest.mark.parametrize("kind", DAMAGE)
def test_damage_is_found(data: Path, kind: str) -> None:
    DAMAGE[kind][0](data)
    assert_told(DataDir(data), DAMAGE[kind][1])


@pytest.fixture(scope="module")
def sound_url(whole: Path, postgresql_server: Server) -> Iterator[str]:
    """A database with the records of `whole`, for tests that damage files and only read it."""
    name = postgresql_server.borrow()
    copy_database(whole / "sesame.db", postgresql_server.url(name))
    yield postgresql_server.url(name)
    postgresql_server.give_back(name)


# What is damaged in rows, which are of another database then. Files are read the same beside it: one of each kind of
# theirs by `make test-all`, the rest by `make torture`. With a database in a file each kind is found in `make test`.
IN_EVERY_RUN = frozenset({"a row is gone", "all rows are gone", "a document without meaning", "a file of no row"})
OF_ROWS = frozenset(
    {
        *("the md5 of a row", "the size of a row", "a row of no kind", "a row without meaning", "a row is gone"),
        *("all rows are gone", "an upload is gone", "a bucket is gone", "a service is gone", "a layer is gone"),
        *("a function is gone", "a document without meaning", "the checksum of a record"),
    }
)
OF_FILES = frozenset(
    {"a bit of an object", "a file of no row", "another archive", "a file too many", "drafts is a file"}
)
ELSEWHERE = [
    pytest.param(
        kind,
        marks=()
        if kind in IN_EVERY_RUN
        else pytest.mark.thorough
        if kind in OF_ROWS | OF_FILES
        else pytest.mark.torture,
    )
    for kind in DAMAGE
    if kind not in OF_THE_FILE
]


@pytest.mark.parametrize("kind", ELSEWHERE)
def test_damage_is_found_beside_a_database_elsewhere(
    data: Path, kind: str, sound_url: str, postgresql_server: Server
) -> None:
    damage, says = DAMAGE[kind]
    before = (data / "sesame.db").read_bytes()
    damage(data)
    if (data / "sesame.db").read_bytes() == before and not list(data.glob("sesame.db-*")):
        for path in data.glob("sesame.db*"):
            path.unlink()
        assert_told(DataDir(data, sound_url), says)
        return
    name = postgresql_server.borrow()
    assert_told(moved(data, postgresql_server.url(name)), says)
    postgresql_server.give_back(name)


def moved(data: Path, url: str) -> DataDir:
    """The directory with its records, the damaged ones too, in the database that the URL names."""
    copy_database(data / "sesame.db", url)
    for path in data.glob("sesame.db*"):
        path.unlink()
    return DataDir(data, url)


def assert_told(data_dir: DataDir, says: str) -> None:
    told = [damage for damage in check(data_dir, Checked(), running=False) if not damage.harmless]
    assert told
    assert any(re.search(says, damage.what) for damage in told), [damage.what for damage in told]
    options = ["--database", data_dir.database] if isinstance(data_dir.database, str) else []
    done = CliRunner().invoke(doctor, ["--check", "--data-dir", str(data_dir.path), *options])
    assert done.exit_code == 1
    assert "there is damage" in done.output


def planted(data: Path, number: int, at: float) -> None:
    for each in range(number):
        path = stray(data, f"{each % 256:02x}left{each}")
        path.write_bytes(b"x")
        os.utime(path, (at, at))


def test_what_a_killed_sesame_left_is_no_damage(data: Path) -> None:
    began_at = 1_700_000_000.0
    planted(data, 3, began_at + 5)
    (data / "packages" / ("e" * 64)).mkdir()
    left = list(check(DataDir(data), Checked(), running=False, began_at=began_at))
    assert [damage.harmless for damage in left] == [True, True]
    assert all("interrupted" in damage.what for damage in left)
    # Files of an earlier run: its start would have set them aside.
    planted(data, 1, began_at - 5)
    lost = [d for d in check(DataDir(data), Checked(), running=False, began_at=began_at) if not d.harmless]
    assert len(lost) == 1
    assert "1 files of objects that no row" in lost[0].what
    # More than requests can have been under way; and files without a row after a clean stop.
    planted(data, 17, began_at + 5)
    for started_at, number in ((began_at, 17), (None, 17)):
        told = [d for d in check(DataDir(data), Checked(), running=False, began_at=started_at) if not d.harmless]
        assert f"{number} files of objects" in told[0].what


def test_a_pipe_in_a_files_place_does_not_block_the_check(data: Path) -> None:
    archive = package(data) / "archive.zip"
    archive.unlink()
    os.mkfifo(archive)
    path = blob(data, "small")
    path.unlink()
    os.mkfifo(path)
    told = [damage.what for damage in found(data)]
    assert any("its archive cannot be read: Is no file" in what for what in told)
    assert any("is not a file" in what for what in told)


def test_the_command_says_what_it_looked_at(data: Path) -> None:
    (data / "notes.txt").write_text("mine")
    (data / "quarantine" / "blobs").mkdir(parents=True)
    (data / "quarantine" / "blobs" / "x").touch()
    done = CliRunner().invoke(doctor, ["--check", "--data-dir", str(data)])
    assert done.exit_code == 0, done.output
    assert "notes.txt was not put there by Sesame" in done.output
    assert "1 files and directories that nothing mentioned" in done.output
    assert "4 records, 6 files of objects" in done.output
    assert "all sound" in done.output


def test_a_directory_that_is_new_or_missing(tmp_path: Path) -> None:
    new = CliRunner().invoke(doctor, ["--check", "--data-dir", str(tmp_path)])
    assert new.exit_code == 0
    assert "nothing was kept yet" in new.output
    missing = CliRunner().invoke(doctor, ["--check", "--data-dir", str(tmp_path / "none")])
    assert missing.exit_code == 1


async def test_a_directory_in_use_passes_while_it_changes(tmp_path: Path, place: Path | str) -> None:
    stores = Stores(tmp_path / "data", place if isinstance(place, str) else None)
    await stores.open()
    await fill(stores)
    over = threading.Event()

    def check_often() -> list[Damage]:
        told = [damage for _ in range(6) for damage in check(stores.data_dir, Checked(), running=True)]
        over.set()
        return told

    checking = asyncio.create_task(asyncio.to_thread(check_often))
    turn, length = 0, 23
    while not over.is_set():
        turn += 1
        await stores.put("small", str(turn).encode() * 100)
        await stores.put(f"new-{turn % 5}", b"x" * turn)
        length = (await stores.append("log", b"more\n", length)).size
        await stores.objects.delete("photos", [f"new-{(turn + 2) % 5}"])
    assert await checking == []
    await stores.close()
