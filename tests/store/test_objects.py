"""Objects and multipart uploads on files: what is acknowledged is there, what is not leaves nothing.

Run by pytest. Crashes are played by leaving files and rows as a crash would; real kills are in tests/torture.
"""

import asyncio
import contextlib
import hashlib
import os
import shutil
from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from unittest.mock import AsyncMock

import fastcrc
import msgspec
import pytest
import sqlalchemy as sa
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.databases import FILE_FIRST

from sesame.model import records
from sesame.model.bucket import Bucket
from sesame.model.errors import AlreadyExists, NotEmpty, NotFound, PlatformError
from sesame.model.object import ObjectKind, ObjectMeta, PendingUpload, StoredObject, Written
from sesame.store.blobs.bucket import Bucket as S3Bucket
from sesame.store.blobs.files import FileBlobs
from sesame.store.blobs.interface import Swept
from sesame.store.blobs.location import parse_location
from sesame.store.blobs.s3 import S3Blobs
from sesame.store.blobs.segments import DATA, path_of
from sesame.store.blobs.upload import BATCH_BYTES
from sesame.store.catalog import Catalog, Transaction
from sesame.store.objects import objects as objects_module
from sesame.store.objects.listing import ListQuery, ObjectPage
from sesame.store.objects.multipart import UploadQuery, Uploads
from sesame.store.objects.objects import NotAppendable, Objects, PositionMismatch
from sesame.store.objects.reader import Reader
from sesame.store.objects.rows import require_empty
from sesame.store.quarantine import Quarantine
from sesame.store.sql.database import Database
from sesame.store.sql.object_schema import objects

NOW = 1_767_323_045.0


class Shelf:
    """A database, a catalog with buckets, and the objects: their bytes below the folder `root`, or in `bucket`."""

    def __init__(self, root: Path, place: Path | str, bucket: str | None = None) -> None:
        self.root = root
        self.place = place
        self.location = bucket
        self.database = Database(place)
        self.catalog = Catalog(self.database, {records.BUCKET: Bucket})
        self.files_kept = FileBlobs(root / "objects")
        self.bucket = None if bucket is None else S3Bucket(parse_location(bucket))
        self.elsewhere = None if self.bucket is None else S3Blobs(self.bucket)
        self.objects = Objects(self.database, self.elsewhere or self.files_kept)
        self.uploads = Uploads(self.objects, lambda: NOW)
        self._closed = False

    async def open(self) -> Swept:
        await self.database.open()
        await self.catalog.open()
        swept = await self.objects.open()
        bucket = Bucket(bucket_name="photos", account_id="42")
        await self.catalog.edit(lambda tx: tx.put(records.BUCKET, "", "photos", bucket))
        return swept

    async def close(self) -> None:
        """Idempotent."""
        if not self._closed:
            self._closed = True
            await self.objects.close()
            await self.database.close()

    async def files(self) -> list[str]:
        """The names of all blobs, also of those on their way."""
        if self.bucket is None or self.elsewhere is None:
            return [path.name for path in (self.root / "objects").rglob("*") if path.is_file()]
        await self.objects.removals.retry()
        await self.objects.removals.settled()
        await self.elsewhere.settled()
        return sorted({found.path.split("/")[1] for found in await self.bucket.listing(DATA)})

    async def lose(self, blob: str) -> None:
        """Takes the bytes away, as nothing of Sesame does."""
        if self.bucket is None:
            self.files_kept.folder.path(blob).unlink()
        else:
            await self.bucket.delete([path_of(blob, 0)])

    async def write(self, chunks: Iterable[bytes]) -> Written:
        async with self.objects.upload() as upload:
            for chunk in chunks:
                await upload.write(chunk)
            return await upload.finish()

    async def put(self, key: str, data: bytes, bucket: str = "photos", *, overwrite: bool = True) -> StoredObject:
        stored = as_object(bucket, key, await self.write([data]))
        await self.objects.put(stored, overwrite=overwrite)
        return stored

    async def read(self, key: str) -> bytes:
        reader = await self.reader(key)
        try:
            return await reader.read(0, reader.stored.size)
        finally:
            reader.close()

    async def reader(self, key: str) -> Reader:
        reader = await self.objects.open_reader("photos", key)
        assert reader is not None
        return reader

    async def page(self, **query: object) -> ObjectPage:
        return await self.objects.page(ListQuery("photos", **query))  # type: ignore[arg-type]

    async def begin(self, key: str = "film") -> PendingUpload:
        pending = PendingUpload(upload_id=f"id-{key}", bucket="photos", key=key, meta=ObjectMeta(), initiated_at=NOW)
        await self.uploads.begin(pending)
        return pending


def as_object(bucket: str, key: str, written: Written, kind: ObjectKind = ObjectKind.NORMAL) -> StoredObject:
    return StoredObject(
        bucket, key, written.blob, written.size, written.md5, written.crc64, kind, ObjectMeta(), modified_at=NOW
    )


@contextlib.asynccontextmanager
async def shelf_in(root: Path, place: Path | str, bucket: str | None = None) -> AsyncIterator[Shelf]:
    shelf = Shelf(root, place, bucket)
    await shelf.open()
    try:
        yield shelf
    finally:
        await shelf.close()


@pytest.fixture(params=["files", "s3"])
def bucket(request: pytest.FixtureRequest) -> str | None:
    """Where the bytes are: in files, which is None, or in a bucket."""
    if request.param == "files":
        return None
    url: str = request.getfixturevalue("s3_url")
    return url


@pytest.fixture
async def shelf(tmp_path: Path, place: Path | str, bucket: str | None) -> AsyncIterator[Shelf]:
    async with shelf_in(tmp_path, place, bucket) as shelf:
        yield shelf


@pytest.fixture
async def file_shelf(tmp_path: Path, place: Path | str) -> AsyncIterator[Shelf]:
    """For what is so of files alone."""
    async with shelf_in(tmp_path, place) as shelf:
        yield shelf


@pytest.mark.parametrize("sizes", [[], [0], [5], [BATCH_BYTES], [BATCH_BYTES - 1, 2], [700_000] * 5])
async def test_what_was_put_is_read_back_with_its_sums(shelf: Shelf, sizes: list[int]) -> None:
    chunks = [bytes([65 + i]) * size for i, size in enumerate(sizes)]
    data = b"".join(chunks)
    written = await shelf.write(chunks)
    await shelf.objects.put(as_object("photos", "k", written))
    assert written.md5 == hashlib.md5(data).hexdigest().upper()
    assert written.crc64 == fastcrc.crc64.xz(data)
    assert await shelf.read("k") == data
    assert await shelf.objects.head("photos", "k") == as_object("photos", "k", written)


async def test_parts_of_large_and_small_objects_can_be_read(shelf: Shelf) -> None:
    for data in (b"0123456789", bytes(range(256)) * 4096):
        await shelf.put("k", data)
        reader = await shelf.reader("k")
        assert await reader.read(3, 4) == data[3:7]
        assert await reader.read(len(data) - 2, 100) == data[-2:]
        reader.close()


async def test_what_is_not_there_is_none(shelf: Shelf) -> None:
    assert await shelf.objects.head("photos", "k") is None
    assert await shelf.objects.open_reader("photos", "k") is None


async def test_an_upload_that_is_not_finished_leaves_nothing(file_shelf: Shelf) -> None:
    async with file_shelf.objects.upload() as upload:
        await upload.write(b"x" * (BATCH_BYTES + 1))
        assert len(await file_shelf.files()) == 1
    assert await file_shelf.files() == []


async def test_an_upload_that_is_cancelled_while_a_thread_writes_leaves_no_draft(file_shelf: Shelf) -> None:
    async def upload(*, finishes: bool) -> None:
        async with file_shelf.objects.upload() as upload:
            await upload.write(b"x" * (8 * BATCH_BYTES))
            if finishes:
                await upload.finish()
            raise ConnectionError

    for turns in range(6):
        task = asyncio.create_task(upload(finishes=turns > 2))
        for _ in range(turns):
            await asyncio.sleep(0.001)
        task.cancel()
        await asyncio.wait({task})
        assert task.cancelled() or isinstance(task.exception(), ConnectionError)
        assert list((file_shelf.root / "objects" / "drafts").iterdir()) == []
        assert len(await file_shelf.files()) <= max(0, turns - 2)


async def test_overwriting_replaces_the_bytes_but_not_under_a_reader(shelf: Shelf) -> None:
    old, new = b"old" * 200_000, b"new" * 200_000
    await shelf.put("k", old)
    reader = await shelf.reader("k")
    await shelf.put("k", new)
    assert await reader.read(0, len(old)) == old
    reader.close()
    assert await shelf.read("k") == new
    assert len(await shelf.files()) == 1


async def test_overwriting_can_be_forbidden(shelf: Shelf) -> None:
    await shelf.put("k", b"first")
    with pytest.raises(AlreadyExists):
        await shelf.put("k", b"second", overwrite=False)
    assert await shelf.read("k") == b"first"
    assert len(await shelf.files()) == 1


async def test_a_bucket_that_is_gone_takes_no_object(shelf: Shelf) -> None:
    with pytest.raises(NotFound) as caught:
        await shelf.put("k", b"data", bucket="gone")
    assert (caught.value.kind, caught.value.name) == ("bucket", "gone")
    assert await shelf.files() == []


async def test_a_bucket_with_something_in_it_cannot_be_deleted(shelf: Shelf) -> None:
    def delete(tx: Transaction) -> None:
        require_empty(tx.connection, "photos")
        tx.delete(records.BUCKET, "", "photos")

    await shelf.put("k", b"data")
    with pytest.raises(NotEmpty, match="objects"):
        await shelf.catalog.edit(delete)
    await shelf.objects.delete("photos", ["k"])
    pending = await shelf.begin()
    with pytest.raises(NotEmpty, match="uploads"):
        await shelf.catalog.edit(delete)
    await shelf.uploads.abort(pending)
    await shelf.catalog.edit(delete)
    assert shelf.catalog.get(records.BUCKET, "", "photos") is None


async def test_deleting_removes_row_and_file_and_tolerates_absence(shelf: Shelf) -> None:
    await shelf.put("a", b"1")
    await shelf.put("b", b"2")
    await shelf.objects.delete("photos", ["a", "c"])
    assert await shelf.objects.head("photos", "a") is None
    assert await shelf.read("b") == b"2"
    assert len(await shelf.files()) == 1


async def test_a_cancelled_put_happens_wholly_or_not_at_all(shelf: Shelf) -> None:
    for turns in range(12):
        task = asyncio.create_task(shelf.put(f"k{turns}", b"data"))
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
    await shelf.close()
    reopened = Shelf(shelf.root, shelf.place, shelf.location)
    await reopened.open()
    page = await reopened.page(limit=1000)
    for stored in page.objects:
        assert await reopened.read(stored.key) == b"data"
    assert len(await reopened.files()) == len(page.objects)
    await reopened.close()


async def test_what_a_crash_left_is_set_aside_at_the_next_start(tmp_path: Path, place: Path | str) -> None:
    async with shelf_in(tmp_path, place) as shelf:
        await shelf.put("k", b"kept")
        # Between the file and its row a crash leaves a file of no row.
        lost = await shelf.write([b"never acknowledged"])
        # So that closing takes it for a file of another process, as a crash does not close.
        shelf.files_kept.folder.claim(lost.blob)
        half = await shelf.begin()
        await shelf.uploads.put_part(half, 1, await shelf.write([b"part"]))
        (tmp_path / "objects" / "drafts" / "half").write_bytes(b"half")
        assert len(await shelf.files()) == 4
    again = Shelf(tmp_path, place)
    assert await again.open() == Swept(set_aside=1)
    assert await again.read("k") == b"kept"
    assert [part.size for part in await again.uploads.parts(half)] == [4]
    assert len(await again.files()) == 2
    await again.close()


async def test_a_file_whose_row_was_deleted_before_a_crash_is_removed(
    tmp_path: Path, place: Path | str, bucket: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with shelf_in(tmp_path, place, bucket) as shelf:
        for key in ("deleted", "overwritten", "kept"):
            await shelf.put(key, key.encode())
        monkeypatch.setattr(shelf.objects.removals, "act", AsyncMock())
        await shelf.objects.delete("photos", ["deleted"])
        await shelf.put("overwritten", b"new")
        pending = await shelf.begin()
        await shelf.uploads.put_part(pending, 1, await shelf.write([b"part"]))
        await shelf.uploads.abort(pending)
        assert len(await shelf.files()) == 5
    again = Shelf(tmp_path, place, bucket)
    assert await again.open() == Swept(removed=0 if bucket else 3)
    assert len(await again.files()) == 2
    assert [await again.read(key) for key in ("overwritten", "kept")] == [b"new", b"kept"]
    await again.close()
    once_more = Shelf(tmp_path, place, bucket)
    assert await once_more.open() == Swept()
    await once_more.close()


async def test_objects_of_rows_that_are_lost_are_set_aside_and_come_back_with_the_rows(
    tmp_path: Path, place: Path | str
) -> None:
    async with shelf_in(tmp_path, place) as shelf:
        for key in "abc":
            await shelf.put(key, key.encode() * 1000)
    damaged = Database(place)
    await damaged.open()
    rows = await damaged.read(lambda connection: connection.execute(sa.select(objects)).mappings().all())
    await damaged.write(lambda connection: connection.execute(sa.delete(objects)))
    await damaged.close()
    again = Shelf(tmp_path, place)
    assert await again.open() == Swept(set_aside=3)
    assert await again.files() == []
    assert len(list(Quarantine(tmp_path / "quarantine").entries())) == 3
    await again.close()
    mended = Database(place)
    await mended.open()
    await mended.write(lambda connection: connection.execute(sa.insert(objects), [dict(row) for row in rows]))
    await mended.close()
    restored = Shelf(tmp_path, place)
    assert await restored.open() == Swept(brought_back=3)
    assert await restored.read("b") == b"b" * 1000
    await restored.close()


async def test_strays_are_set_aside_wherever_they_lie(tmp_path: Path, place: Path | str) -> None:
    async with shelf_in(tmp_path, place) as shelf:
        await shelf.put("k", b"data")
    inside = tmp_path / "objects"
    (inside / "drafts" / "folder" / "deep").mkdir(parents=True)
    (inside / "drafts" / "link").symlink_to("/etc")
    (inside / "data" / "stray").write_text("x")
    (inside / "data" / "00" / "folder").mkdir(parents=True)
    (inside / "data" / "zz").mkdir()
    (inside / "data" / "zz" / "stray").write_text("x")
    (inside / "data" / "link").symlink_to("/etc")
    again = Shelf(tmp_path, place)
    found = await again.open()
    assert (found.set_aside, found.missing) == (4, 0)
    assert len(list(Quarantine(tmp_path / "quarantine").entries())) == 6
    assert await again.read("k") == b"data"
    await again.close()


async def test_a_row_without_its_file_fails_alone(tmp_path: Path, place: Path | str, bucket: str | None) -> None:
    async with shelf_in(tmp_path, place, bucket) as shelf:
        gone = await shelf.put("gone", b"data")
        await shelf.put("k", b"data")
        await shelf.lose(gone.blob)
    again = Shelf(tmp_path, place, bucket)
    assert await again.open() == Swept(missing=0 if bucket else 1)
    with pytest.raises(PlatformError, match="doctor --check"):
        await again.read("gone")
    assert await again.read("k") == b"data"
    await again.close()


async def test_what_cancelled_uploads_left_is_collected_by_age(
    file_shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    await file_shelf.put("k", b"data")
    await file_shelf.write([b"finished, and its writer was cancelled"])
    draft = file_shelf.root / "objects" / "drafts" / "abandoned"
    draft.write_bytes(b"half")
    assert await file_shelf.objects.collect() == 0
    os.utime(draft, (1.0, 1.0))
    monkeypatch.setattr(objects_module, "UNCLAIMED_AGE_S", -1.0)
    assert await file_shelf.objects.collect() == 2
    assert await file_shelf.read("k") == b"data"
    assert len(await file_shelf.files()) == 1


async def test_a_clean_stop_leaves_no_file_without_a_row(tmp_path: Path, place: Path | str, bucket: str | None) -> None:
    async with shelf_in(tmp_path, place, bucket) as shelf:
        await shelf.put("k", b"data")
        await shelf.write([b"finished, and its writer was cancelled"])
    assert len(await shelf.files()) == 1
    again = Shelf(tmp_path, place, bucket)
    assert await again.open() == Swept()
    assert await again.read("k") == b"data"
    await again.close()


async def test_uncompleted_uploads_are_aborted_by_age(shelf: Shelf) -> None:
    old = await shelf.begin("old")
    await shelf.uploads.put_part(old, 1, await shelf.write([b"part"]))
    assert await shelf.uploads.abort_old() == 0
    assert await shelf.uploads.abort_old(-1.0) == 1
    assert await shelf.files() == []
    with pytest.raises(NotFound):
        await shelf.uploads.get("photos", "old", old.upload_id)


async def test_an_overwrite_does_not_disturb_readers(shelf: Shelf) -> None:
    await shelf.put("k", b"0" * 300_000)

    async def overwrite() -> None:
        for turn in range(40):
            await shelf.put("k", str(turn % 10).encode() * 300_000)

    async def read() -> None:
        for _ in range(80):
            data = await shelf.read("k")
            assert len(data) == 300_000
            assert data == data[:1] * 300_000

    await asyncio.gather(overwrite(), read(), read())
    assert len(await shelf.files()) == 1


async def test_an_objects_metadata_can_change_without_its_bytes(shelf: Shelf) -> None:
    await shelf.put("k", b"data")
    changed = await shelf.objects.update("photos", "k", lambda old: msgspec.structs.replace(old, modified_at=1.0))
    assert changed.modified_at == 1.0
    assert await shelf.read("k") == b"data"
    with pytest.raises(NotFound):
        await shelf.objects.update("photos", "absent", lambda old: old)


async def test_appending_grows_the_object_and_keeps_its_crc(shelf: Shelf) -> None:
    whole = b""
    for turn in range(5):
        piece = bytes([97 + turn]) * (turn * 400_000 + 3)
        written = await shelf.write([piece])
        at = as_object("photos", "log", written, ObjectKind.APPENDABLE)
        grown = await shelf.objects.append(written, at, len(whole))
        whole += piece
        assert (grown.size, grown.crc64) == (len(whole), fastcrc.crc64.xz(whole))
    assert await shelf.read("log") == whole
    assert len(await shelf.files()) == 1


async def test_appends_at_another_position_or_to_other_objects_are_refused(shelf: Shelf) -> None:
    async def append(key: str, position: int) -> StoredObject:
        written = await shelf.write([b"more"])
        at = as_object("photos", key, written, ObjectKind.APPENDABLE)
        return await shelf.objects.append(written, at, position)

    await append("log", 0)
    with pytest.raises(PositionMismatch) as caught:
        await append("log", 3)
    assert caught.value.length == 4
    await shelf.put("plain", b"data")
    with pytest.raises(NotAppendable):
        await append("plain", 4)
    assert len(await shelf.files()) == 2


async def test_of_appends_at_the_same_place_one_succeeds(shelf: Shelf) -> None:
    async def append(letter: bytes) -> bytes:
        written = await shelf.write([letter * 1000])
        try:
            await shelf.objects.append(written, as_object("photos", "log", written, ObjectKind.APPENDABLE), 0)
        except PositionMismatch:
            return b""
        return letter

    done = [letter for letter in await asyncio.gather(*(append(bytes([97 + i])) for i in range(8))) if letter]
    assert len(done) == 1
    assert await shelf.read("log") == done[0] * 1000


async def test_an_append_waits_for_the_end_of_one_whose_caller_is_gone(
    file_shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def append(piece: bytes, position: int) -> StoredObject:
        written = await file_shelf.write([piece])
        at = as_object("photos", "log", written, ObjectKind.APPENDABLE)
        return await file_shelf.objects.append(written, at, position)

    await append(b"begin", 0)
    extend, began, may_go_on = file_shelf.files_kept.extend, asyncio.Event(), asyncio.Event()

    async def slow(blob: str, size: int, crc64: int, addition: Written) -> int:
        monkeypatch.setattr(file_shelf.files_kept, "extend", extend)
        began.set()
        await may_go_on.wait()
        return await extend(blob, size, crc64, addition)

    monkeypatch.setattr(file_shelf.files_kept, "extend", slow)
    given_up = asyncio.create_task(append(b"+one", 5))
    await began.wait()
    given_up.cancel()
    await asyncio.wait({given_up})
    second = asyncio.create_task(append(b"+second", 5))
    # Time enough for the second to end, if it did not wait.
    await asyncio.wait({second}, timeout=0.1)
    may_go_on.set()
    await asyncio.wait({second})
    stored = await file_shelf.objects.head("photos", "log")
    assert stored is not None
    assert fastcrc.crc64.xz(await file_shelf.read("log")) == stored.crc64


async def test_bytes_of_an_unacknowledged_append_are_overwritten_by_the_next(file_shelf: Shelf) -> None:
    written = await file_shelf.write([b"begin"])
    at = as_object("photos", "log", written, ObjectKind.APPENDABLE)
    await file_shelf.objects.append(written, at, 0)
    with file_shelf.files_kept.folder.path(at.blob).open("ab") as file:
        file.write(b"a crash came before the row")
    assert await file_shelf.read("log") == b"begin"
    more = await file_shelf.write([b"+end"])
    await file_shelf.objects.append(more, as_object("photos", "log", more, ObjectKind.APPENDABLE), 5)
    assert await file_shelf.read("log") == b"begin+end"


@pytest.mark.parametrize("instead", [b"another object", None])
async def test_an_append_to_what_is_gone_meanwhile_is_refused_and_leaves_nothing(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch, instead: bytes | None
) -> None:
    written = await shelf.write([b"begin"])
    await shelf.objects.append(written, as_object("photos", "log", written, ObjectKind.APPENDABLE), 0)
    head = shelf.objects.head

    async def seen_before_it_went(bucket: str, key: str) -> StoredObject | None:
        found = await head(bucket, key)
        if instead is None:
            await shelf.objects.delete(bucket, [key])
        else:
            await shelf.put(key, instead)
        return found

    monkeypatch.setattr(shelf.objects, "head", seen_before_it_went)
    more = await shelf.write([b"+end"])
    with pytest.raises(PositionMismatch if instead is None else NotAppendable):
        await shelf.objects.append(more, as_object("photos", "log", more, ObjectKind.APPENDABLE), 5)
    assert len(await shelf.files()) == (0 if instead is None else 1)


async def test_folders_that_are_removed_while_in_use_are_made_again(file_shelf: Shelf) -> None:
    await file_shelf.put("a", b"kept elsewhere")
    shutil.rmtree(file_shelf.root / "objects" / "drafts")
    await file_shelf.put("b", b"draft")
    assert await file_shelf.read("b") == b"draft"
    shutil.rmtree(file_shelf.root / "objects" / "data")
    (file_shelf.root / "objects" / "data").mkdir()
    await file_shelf.put("c", b"blob")
    assert await file_shelf.read("c") == b"blob"
    with pytest.raises(PlatformError, match="'a' in bucket 'photos' are missing: `sesame doctor --check`"):
        await file_shelf.reader("a")


async def test_the_folder_of_objects_is_private(file_shelf: Shelf) -> None:
    assert (file_shelf.root / "objects").stat().st_mode & 0o077 == 0


async def test_parts_become_an_object(shelf: Shelf) -> None:
    pending = await shelf.begin()
    pieces = {3: b"c" * 500_000, 1: b"a" * 1_500_000, 2: b"b"}
    for number, data in pieces.items():
        await shelf.uploads.put_part(pending, number, await shelf.write([data]))
    await shelf.uploads.put_part(pending, 2, await shelf.write([b"better"]))
    found = await shelf.uploads.parts(pending)
    assert [part.number for part in found] == [1, 2, 3]
    assert [part.number for part in await shelf.uploads.parts(pending, after=1, limit=1)] == [2]
    stored = await shelf.uploads.complete(pending, found)
    whole = pieces[1] + b"better" + pieces[3]
    assert stored.crc64 == fastcrc.crc64.xz(whole)
    assert stored.etag.endswith("-3")
    assert await shelf.read("film") == whole
    assert len(await shelf.files()) == 1
    with pytest.raises(NotFound):
        await shelf.uploads.get("photos", "film", pending.upload_id)
    with pytest.raises(NotFound):
        await shelf.uploads.complete(pending, [])
    assert len(await shelf.files()) == 1


async def test_an_aborted_upload_leaves_nothing(shelf: Shelf) -> None:
    pending = await shelf.begin()
    await shelf.uploads.put_part(pending, 1, await shelf.write([b"data"]))
    await shelf.uploads.abort(pending)
    assert await shelf.files() == []
    with pytest.raises(NotFound):
        await shelf.uploads.put_part(pending, 2, await shelf.write([b"late"]))
    with pytest.raises(NotFound):
        await shelf.uploads.abort(pending)
    assert await shelf.files() == []


async def test_uploads_are_listed_in_order_of_key_and_id(shelf: Shelf) -> None:
    for key in ("b/2", "b/1", "a"):
        await shelf.begin(key)

    async def keys(**query: object) -> list[str]:
        return [found.key for found in await shelf.uploads.page(UploadQuery("photos", **query))]  # type: ignore[arg-type]

    assert await keys() == ["a", "b/1", "b/2"]
    assert await keys(prefix="b/") == ["b/1", "b/2"]
    assert await keys(key_after="a") == ["b/1", "b/2"]
    assert await keys(key_after="b/1", id_after="id-b/1") == ["b/2"]
    assert await keys(key_after="b/1", id_after="id-a") == ["b/1", "b/2"]
    assert await keys(limit=1) == ["a"]


async def test_totals_count_objects_bytes_and_uploads(shelf: Shelf) -> None:
    await shelf.put("a", b"123")
    await shelf.put("b", b"4567")
    await shelf.begin()
    totals = await shelf.objects.totals("photos")
    assert (totals.objects, totals.size_bytes, totals.uploads) == (2, 7, 1)


@FILE_FIRST
async def test_folded_prefixes_are_jumped_over_however_much_they_hide(file_shelf: Shelf) -> None:
    written = await file_shelf.write([b""])
    for folder in "abc":
        await asyncio.gather(
            *(file_shelf.objects.put(as_object("photos", f"{folder}/{i:04}", written)) for i in range(600))
        )
    await file_shelf.objects.put(as_object("photos", "b", written))
    await file_shelf.objects.put(as_object("photos", "d", written))
    page = await file_shelf.page(delimiter="/")
    assert (page.prefixes, [o.key for o in page.objects]) == (("a/", "b/", "c/"), ["b", "d"])
    assert page.next_after is None


def expected_entries(keys: Iterable[str], query: ListQuery) -> list[str]:
    entries = set()
    for key in keys:
        if key.startswith(query.prefix):
            at = key.find(query.delimiter, len(query.prefix)) if query.delimiter else -1
            entries.add(key if at < 0 else key[: at + len(query.delimiter)])
    return sorted((e for e in entries if e.encode() > query.after.encode()), key=str.encode)


some_key = st.text("ab/é\U0001f600\uffff", min_size=1, max_size=6)


queries = st.builds(
    ListQuery,
    bucket=st.just("photos"),
    prefix=st.text("ab/", max_size=2),
    delimiter=st.sampled_from(["", "/", "b", "ab"]),
    after=st.one_of(st.just(""), some_key),
    limit=st.integers(1, 4),
)


async def all_pages(shelf: Shelf, query: ListQuery) -> list[str]:
    seen: list[str] = []
    while True:
        page = await shelf.objects.page(query)
        got = sorted([*page.prefixes, *(stored.key for stored in page.objects)], key=str.encode)
        assert len(got) <= query.limit
        seen += got
        if page.next_after is None:
            return seen
        assert page.next_after == got[-1]
        query = msgspec.structs.replace(query, after=page.next_after)


def test_listing_agrees_with_sorting_by_bytes(tmp_path: Path, place: Path | str) -> None:
    with asyncio.Runner() as runner:
        shelf = Shelf(tmp_path, place)
        runner.run(shelf.open())
        empty = runner.run(shelf.write([b""]))

        @settings(max_examples=60, deadline=None)
        @given(st.sets(some_key, max_size=12), queries)
        def check(keys: set[str], query: ListQuery) -> None:
            for key in keys:
                runner.run(shelf.objects.put(as_object("photos", key, empty)))
            assert runner.run(all_pages(shelf, query)) == expected_entries(keys, query)
            runner.run(shelf.database.write(lambda connection: connection.execute(sa.delete(objects))))

        check()
        runner.run(shelf.close())
