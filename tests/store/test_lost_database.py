"""A database that is lost, emptied or damaged costs no object and no package: the start is refused, nothing changes.

Run by pytest. Starts a whole Sesame (driver `process`) on directories that were damaged in one way each.
"""

import asyncio
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from tests.support import zips
from tests.support.data_directory import Stores

from sesame.app import Sesame
from sesame.model import records
from sesame.model.bucket import Bucket
from sesame.model.errors import ConfigurationError
from sesame.model.object import ObjectKind, ObjectMeta, StoredObject
from sesame.settings import Settings
from sesame.store.blobs.files import FileBlobs
from sesame.store.catalog import Catalog
from sesame.store.objects.objects import Objects
from sesame.store.packages.packages import Packages
from sesame.store.sql.database import Database

pytestmark = pytest.mark.usefixtures("few_runtimes")


async def fill(data: Path) -> None:
    database = Database(data / "sesame.db")
    await database.open()
    catalog = Catalog(database)
    await catalog.open()
    await catalog.edit(lambda tx: tx.put(records.BUCKET, "", "photos", Bucket(bucket_name="photos", account_id="42")))
    objects = Objects(database, FileBlobs(data / "objects"))
    await objects.open()
    for key in ("a", "b"):
        async with objects.upload() as upload:
            await upload.write(key.encode() * 5000)
            done = await upload.finish()
        stored = StoredObject(
            "photos", key, done.blob, done.size, done.md5, done.crc64, ObjectKind.NORMAL, ObjectMeta(), 1.0
        )
        await objects.put(stored)
    packages = Packages(data / "packages")
    await packages.open()
    await packages.add(zips.zip_of({"index.py": "x = 1\n"}), "python3")
    await objects.close()
    await database.close()


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    data = tmp_path_factory.mktemp("whole") / "data"
    asyncio.run(fill(data))
    return data


def contents(data: Path) -> dict[str, bytes]:
    """Every file that somebody could miss."""
    return {
        str(path.relative_to(data)): path.read_bytes()
        for path in data.rglob("*")
        if path.is_file() and path.name.partition(".")[0] not in ("lock", "endpoints", "credentials")
        if not path.name.endswith(("-shm", ".lock"))
        if path.name != "sesame.db-wal" or path.stat().st_size
    }


def execute(database: Path, *statements: str) -> None:
    with closing(sqlite3.connect(database, isolation_level=None)) as connection:
        for statement in statements:
            connection.execute(statement)


def missing(database: Path) -> None:
    database.unlink()


def zero_bytes(database: Path) -> None:
    database.write_bytes(b"")


def truncated(database: Path) -> None:
    database.write_bytes(database.read_bytes()[: 4096 * 3])


def cut_within_the_header(database: Path) -> None:
    database.write_bytes(database.read_bytes()[:50])


def text(database: Path) -> None:
    database.write_text("not what Sesame wrote\n" * 200)


def zeroed(database: Path) -> None:
    database.write_bytes(bytes(database.stat().st_size))


def zeroed_pages(database: Path) -> None:
    raw = database.read_bytes()
    database.write_bytes(raw[:4096] + bytes(len(raw) - 4096))


def without_tables(database: Path) -> None:
    database.unlink()
    execute(database, "CREATE TABLE t (x)", "DROP TABLE t")


def of_another_program(database: Path) -> None:
    database.unlink()
    execute(database, "CREATE TABLE bookmarks (url)")


def emptied(database: Path) -> None:
    execute(database, "DELETE FROM records", "DELETE FROM objects", "VACUUM")


def only_its_log(database: Path) -> None:
    database.with_name("sesame.db-wal").write_bytes(b"x" * 5000)
    database.unlink()


def damaged_document(database: Path) -> None:
    execute(database, "UPDATE records SET document = x'7b22ff'")


def without_counters(database: Path) -> None:
    execute(database, "DELETE FROM counters")


def unknown_kind(database: Path) -> None:
    execute(database, "UPDATE records SET kind = 'queue'")


def of_a_newer_sesame(database: Path) -> None:
    execute(database, "UPDATE alembic_version SET version_num = '9999'")


DAMAGE: dict[Callable[[Path], None], str] = {
    missing: "is missing, but 2 files of objects and 1 code packages lie beside it",
    zero_bytes: "is empty, but 2 files of objects",
    truncated: "malformed",
    cut_within_the_header: "cannot be used",
    text: "not a database",
    zeroed: "not a database",
    zeroed_pages: "malformed",
    without_tables: "holds no records",
    of_another_program: "bookmarks",
    emptied: "holds no records",
    only_its_log: "its log sesame.db-wal is there",
    damaged_document: "cannot be read",
    without_counters: "cannot be used: No row was found",
    unknown_kind: "unknown kind 'queue'",
    of_a_newer_sesame: "newer Sesame",
}


@pytest.mark.parametrize("damage", DAMAGE, ids=lambda damage: damage.__name__)
async def test_a_damaged_database_is_refused_and_nothing_is_touched(
    damage: Callable[[Path], None], whole: Path, tmp_path: Path
) -> None:
    data = tmp_path / "data"
    shutil.copytree(whole, data)
    damage(data / "sesame.db")
    before = contents(data)
    for _start in range(2):
        with pytest.raises(ConfigurationError, match=DAMAGE[damage]) as refused:
            await Sesame(Settings(port=0, oss_port=0, data_dir=data, sandbox="plain")).start()
        assert contents(data) == before
        for advice in ("move the file", "remove", "delete"):
            assert advice not in str(refused.value)
        assert "data directory" in str(refused.value) or "--data-dir" in str(refused.value)


async def test_a_directory_without_data_gets_a_new_database(tmp_path: Path) -> None:
    data = tmp_path / "data"
    (data / "objects" / "data" / "00").mkdir(parents=True)
    (data / "packages" / "staging").mkdir(parents=True)
    (data / "sesame.db").touch()
    sesame = Sesame(Settings(port=0, oss_port=0, data_dir=data, sandbox="plain"))
    await sesame.start()
    await sesame.stop()


async def test_an_older_copy_of_the_database_deletes_nothing_and_the_newer_one_brings_all_back(
    whole: Path, tmp_path: Path
) -> None:
    data = tmp_path / "data"
    shutil.copytree(whole, data)
    older = (data / "sesame.db").read_bytes()
    stores = Stores(data)
    await stores.open()
    newer = await stores.put("new", b"newer than the copy")
    await stores.packages.add(zips.zip_of({"index.py": "newer"}), "python3")
    await stores.close()
    whole_database = (data / "sesame.db").read_bytes()
    kept = {name for name in contents(data) if name.startswith(("objects/data/", "packages/"))}
    (data / "sesame.db").write_bytes(older)

    for _start in range(2):
        sesame = Sesame(Settings(port=0, oss_port=0, data_dir=data, sandbox="plain"))
        await sesame.start()
        assert any("that nothing mentioned lie in" in notice for notice in sesame.notices())
        await sesame.stop()
        everything = {path.name for path in data.rglob("*")}
        assert {name.split("/")[2 if name.startswith("objects") else 1] for name in kept} - everything <= {"code"}
    (data / "sesame.db").write_bytes(whole_database)
    sesame = Sesame(Settings(port=0, oss_port=0, data_dir=data, sandbox="plain"))
    await sesame.start()
    await sesame.stop()
    assert (data / "objects" / "data" / newer.blob[:2] / newer.blob).read_bytes() == b"newer than the copy"


async def test_losing_the_databases_wal_deletes_nothing(whole: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    shutil.copytree(whole, data)
    stores = Stores(data)
    await stores.open()
    stored = await stores.put("in the log only", b"bytes")
    killed = tmp_path / "killed"
    shutil.copytree(data, killed)
    await stores.close()
    assert (killed / "sesame.db-wal").stat().st_size > 0
    (killed / "sesame.db-wal").unlink()
    (killed / "sesame.db-shm").unlink()
    sesame = Sesame(Settings(port=0, oss_port=0, data_dir=killed, sandbox="plain"))
    await sesame.start()
    await sesame.stop()
    assert (killed / "quarantine" / "blobs" / stored.blob).read_bytes() == b"bytes"
