"""What may go wrong between a Sesame and its objects elsewhere at one moment: answers that are lost, two at a time.

Run by pytest, with a real server.
"""

import asyncio
import tracemalloc
from collections.abc import AsyncIterator, Callable, Collection
from pathlib import Path
from typing import Any

import pytest
from tests.store.test_objects_elsewhere import paths_in
from tests.support.data_directory import Stores, as_object, fill
from tests.support.faulty_proxy import FaultyProxy
from tests.support.s3 import Store

from sesame.model.errors import ConfigurationError, PlatformError, StoreUnavailable
from sesame.model.object import ObjectKind
from sesame.store.blobs import bucket as bucket_module
from sesame.store.blobs import s3
from sesame.store.blobs.bucket import LARGE_BYTES, Bucket, Listed
from sesame.store.blobs.location import parse_location
from sesame.store.blobs.ownership import own_bucket
from sesame.store.blobs.s3_upload import S3Upload
from sesame.store.blobs.segments import DATA
from sesame.store.objects import removals
from sesame.store.sql.database import Database

PATIENCE_S = 60.0


@pytest.fixture
async def stores(tmp_path: Path, s3_url: str) -> Stores:
    stores = Stores(tmp_path / "data", None, s3_url)
    await stores.open()
    await fill(stores)
    return stores


async def test_a_commit_whose_answer_was_lost_keeps_its_bytes_at_a_clean_stop(
    stores: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = stores.database.write

    async def unanswered(fn: Callable[..., Any], **more: Any) -> Any:
        await write(fn, **more)
        raise PlatformError("the database did not answer; the change may have been made")

    written = await stores.written(b"new bytes")
    monkeypatch.setattr(stores.database, "write", unanswered)
    with pytest.raises(PlatformError):
        await stores.objects.put(as_object("small", written, ObjectKind.NORMAL))
    monkeypatch.setattr(stores.database, "write", write)
    # The one that is given up is deleted as before.
    await stores.written(b"without a row")
    await stores.close()
    again = Stores(stores.data_dir.path, None, stores.data_dir.bucket)
    await again.open()
    await again.objects.removals.settled()
    assert await again.read("small") == b"new bytes"
    names = {path.split("/")[1] for path in await paths_in(stores.data_dir.bucket or "", DATA)}
    assert len(names) == 6
    await again.close()


class MetBucket(Bucket):
    """Two of them find the place empty before either goes on."""

    met = 0
    both = asyncio.Event()

    async def walk(self, folder: str) -> AsyncIterator[Listed]:
        async for each in super().walk(folder):
            yield each
        MetBucket.met += 1
        if MetBucket.met == 2:
            self.both.set()
        await self.both.wait()


async def test_of_two_that_begin_with_one_place_at_a_time_one_is_refused(tmp_path: Path, s3_url: str) -> None:
    folders = [tmp_path / "first", tmp_path / "second"]
    databases = [Database(folder / "sesame.db") for folder in folders]
    for folder, database in zip(folders, databases, strict=True):
        folder.mkdir()
        await database.open()
    outcomes = await asyncio.gather(
        *(
            own_bucket(database, MetBucket(parse_location(s3_url)), folder)
            for folder, database in zip(folders, databases, strict=True)
        ),
        return_exceptions=True,
    )
    for database in databases:
        await database.close()
    refused = [str(each) for each in outcomes if isinstance(each, ConfigurationError)]
    assert (len(refused), outcomes.count(None)) == (1, 1), outcomes
    assert "was taken by another Sesame meanwhile" in refused[0]


async def test_a_database_that_is_new_does_not_take_a_place_that_another_has_begun_with(
    tmp_path: Path, s3_url: str
) -> None:
    (tmp_path / "first").mkdir()
    (tmp_path / "second").mkdir()
    first, second = Database(tmp_path / "first" / "s.db", "one"), Database(tmp_path / "second" / "s.db", "one")
    for database in (first, second):
        await database.open()
    try:
        await own_bucket(first, Bucket(parse_location(s3_url)), tmp_path / "first")
        with pytest.raises(ConfigurationError, match="has the objects of the database"):
            await own_bucket(second, Bucket(parse_location(s3_url)), tmp_path / "second")
        await own_bucket(first, Bucket(parse_location(s3_url)), tmp_path / "first")
    finally:
        await first.close()
        await second.close()


async def test_who_waits_for_a_store_that_says_nothing_does_not_wait_in_turn(
    s3_store: Store, proxy: FaultyProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bucket_module, "LARGE_AT_ONCE", 2)
    monkeypatch.setattr(bucket_module, "REQUEST_TIMEOUT_S", 1.0)
    bucket = Bucket(parse_location(s3_store.new_url(proxy.endpoint)))
    proxy.silent = True
    outcomes = await asyncio.gather(
        *(bucket.put(f"k{n}", bytes(LARGE_BYTES)) for n in range(8)), return_exceptions=True
    )
    assert [type(each) for each in outcomes] == [StoreUnavailable] * 8
    assert len(proxy.seen) == 2
    proxy.heal()
    monkeypatch.setattr(bucket_module, "REQUEST_TIMEOUT_S", 60.0)
    await asyncio.gather(*(bucket.put(f"k{n}", bytes(LARGE_BYTES)) for n in range(8)))


class NoBucket(Bucket):
    def __init__(self) -> None:
        self.kept: list[bytes] = []

    async def put(self, path: str, data: bytes) -> None:
        self.kept.append(data)


async def test_a_body_that_comes_a_few_bytes_at_a_time_takes_no_more_memory_than_its_bytes() -> None:
    bucket, pieces = NoBucket(), 50_000

    async def announce(_blob: str) -> None:
        pass

    tracemalloc.start()
    try:
        async with S3Upload(bucket, announce, asyncio.Semaphore(1), lambda _blob, ended: ended.close()) as upload:
            for _ in range(pieces):
                await upload.write(bytes(bytearray(b"ab")))
            held, _peak = tracemalloc.get_traced_memory()
            await upload.finish()
    finally:
        tracemalloc.stop()
    assert bucket.kept == [b"ab" * pieces]
    assert held < 4 * 2 * pieces


async def test_what_still_arrives_at_a_stop_is_deleted_after_the_next_start(
    stores: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    put, going, may_go, arrived = Bucket.put, asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def slow_put(bucket: Bucket, path: str, data: bytes) -> None:
        going.set()
        await may_go.wait()
        await put(bucket, path, data)
        arrived.set()

    await stores.objects.removals.settled()
    before = await paths_in(stores.data_dir.bucket or "", DATA)
    monkeypatch.setattr(s3, "STOP_PATIENCE_S", 0.1)
    monkeypatch.setattr(Bucket, "put", slow_put)
    upload = asyncio.create_task(stores.written(b"late"))
    await asyncio.wait_for(going.wait(), PATIENCE_S)
    upload.cancel()
    await asyncio.wait({upload})
    await stores.close()
    may_go.set()
    await asyncio.wait_for(arrived.wait(), PATIENCE_S)
    assert len(await paths_in(stores.data_dir.bucket or "", DATA)) == len(before) + 1
    again = Stores(stores.data_dir.path, None, stores.data_dir.bucket)
    await again.open()
    await again.objects.removals.settled()
    assert await paths_in(stores.data_dir.bucket or "", DATA) == before
    await again.close()


async def test_a_blob_that_cannot_be_deleted_does_not_hold_up_the_others(
    stores: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(removals, "DELETED_AT_ONCE", 1)
    delete, small = Bucket.delete, await stores.objects.head("photos", "small")
    assert small is not None

    async def refusing(bucket: Bucket, paths: Collection[str]) -> None:
        if any(small.blob in path for path in paths):
            raise StoreUnavailable("it is held")
        await delete(bucket, paths)

    monkeypatch.setattr(Bucket, "delete", refusing)
    await stores.objects.removals.settled()
    before = await paths_in(stores.data_dir.bucket or "", DATA)
    await stores.objects.delete("photos", ["small"])
    await stores.objects.removals.settled()
    await stores.objects.delete("photos", ["log"])
    await stores.objects.removals.settled()
    await stores.objects.removals.retry()
    await stores.objects.removals.settled()
    left = await paths_in(stores.data_dir.bucket or "", DATA)
    assert len(left) == len(before) - 1
    assert any(small.blob in path for path in left)
    monkeypatch.setattr(Bucket, "delete", delete)
    await stores.close()
