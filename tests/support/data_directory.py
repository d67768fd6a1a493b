"""Fills a data directory with everything that Sesame keeps: functions, versions, layers, objects, parts and logs.

Used by the tests of checks, backups and damage; writes with the stores themselves, without a Sesame.
"""

import asyncio
from pathlib import Path

from tests.support import zips

from sesame.data_dir import DataDir
from sesame.model import records
from sesame.model.bucket import Bucket
from sesame.model.function import Function
from sesame.model.layer import LayerVersion
from sesame.model.object import ObjectKind, ObjectMeta, PendingUpload, StoredObject, Written
from sesame.model.service import Service
from sesame.store import outbox
from sesame.store.blobs.bucket import Bucket as S3Bucket
from sesame.store.blobs.files import FileBlobs
from sesame.store.blobs.location import parse_location
from sesame.store.blobs.s3 import S3Blobs
from sesame.store.blobs.s3_archives import S3Archives
from sesame.store.catalog import Catalog, Transaction
from sesame.store.objects.multipart import Uploads
from sesame.store.objects.objects import Objects
from sesame.store.packages.packages import Packages
from sesame.store.sql.database import Database

LAYER_ARN = "acs:fc:cn-shanghai:42:layers/tools/versions/1"
CODE: dict[str, bytes | str] = {
    "index.py": "def handler(event, context):\n    return event\n",
    "data/a.txt": "a" * 5000,
    "bin/tool": "#!",
}


class Stores:
    """The stores of one data directory, open between `open` and `close`."""

    def __init__(self, path: Path, database: str | None = None, bucket: str | None = None) -> None:
        """`database` and `bucket` as the settings: the URLs of a database, and of a place for objects, elsewhere."""
        self.data_dir = DataDir(path, database, bucket)
        path.mkdir(exist_ok=True, mode=0o700)
        self.database = Database(self.data_dir.database)
        self.catalog = Catalog(self.database)
        place = None if bucket is None else S3Bucket(parse_location(bucket))
        self.objects = Objects(self.database, FileBlobs(self.data_dir.objects) if place is None else S3Blobs(place))
        self.uploads = Uploads(self.objects, lambda: 1.0)
        archives = None if place is None else S3Archives(place, self._announce, self._own)
        self.packages = Packages(self.data_dir.packages, archives=archives)

    async def open(self) -> None:
        await self.database.open()
        await self.catalog.open()
        await self.objects.open()
        await self.packages.open()

    async def close(self) -> None:
        await self.objects.close()
        await self.database.close()

    async def _announce(self, sha256: str) -> None:
        await self.database.write(lambda connection: outbox.add(connection, outbox.PACKAGE_RELEASED, [sha256], 1.0))

    async def _own(self) -> None:
        """It is, while it is open."""

    async def written(self, data: bytes) -> Written:
        async with self.objects.upload() as upload:
            await upload.write(data)
            return await upload.finish()

    async def put(self, key: str, data: bytes, kind: ObjectKind = ObjectKind.NORMAL) -> StoredObject:
        stored = as_object(key, await self.written(data), kind)
        await self.objects.put(stored)
        return stored

    async def append(self, key: str, data: bytes, position: int) -> StoredObject:
        written = await self.written(data)
        return await self.objects.append(written, as_object(key, written, ObjectKind.APPENDABLE), position)

    async def read(self, key: str) -> bytes:
        reader = await self.objects.open_reader("photos", key)
        assert reader is not None
        try:
            return await reader.whole()
        finally:
            reader.close()


def as_object(key: str, written: Written, kind: ObjectKind) -> StoredObject:
    return StoredObject("photos", key, written.blob, written.size, written.md5, written.crc64, kind, ObjectMeta(), 1.0)


async def fill(stores: Stores) -> None:
    code = await stores.packages.add(zips.zip_of(CODE, modes={"bin/tool": 0o100755}), "python3")
    layer = await stores.packages.add(zips.zip_of({"python/tool.py": "x = 1\n"}), "custom")
    function = Function("f", "id", "python3", "index.handler", code, layers=(LAYER_ARN,))

    def records_of(tx: Transaction) -> None:
        tx.put(records.BUCKET, "", "photos", Bucket(bucket_name="photos", account_id="42"))
        tx.put(records.SERVICE, "", "s", Service("s", "id"))
        tx.put(records.LAYER_VERSION, "tools", "1", LayerVersion("tools", 1, layer))
        tx.put(records.FUNCTION, "s", "f", function)

    await stores.catalog.edit(records_of)
    await stores.put("small", b"small")
    await stores.put("large", bytes(range(256)) * 5000)
    await stores.put("empty", b"")
    await stores.append("log", b"first line\n", 0)
    await stores.append("log", b"second line\n", 11)
    link = StoredObject("photos", "link", "", 0, "", 0, ObjectKind.SYMLINK, ObjectMeta(symlink="small"), 1.0)
    await stores.objects.put(link)
    pending = PendingUpload("upload-1", "photos", "film", ObjectMeta(), 1.0)
    await stores.uploads.begin(pending)
    await stores.uploads.put_part(pending, 1, await stores.written(b"part" * 5000))
    joined = PendingUpload("upload-2", "photos", "joined", ObjectMeta(), 1.0)
    await stores.uploads.begin(joined)
    part = await stores.uploads.put_part(joined, 1, await stores.written(b"joined" * 3000))
    await stores.uploads.complete(joined, [part])


def filled(path: Path, database: str | None = None, bucket: str | None = None) -> DataDir:
    """Makes and fills a data directory, and closes it."""

    async def make() -> DataDir:
        stores = Stores(path, database, bucket)
        await stores.open()
        await fill(stores)
        await stores.close()
        return stores.data_dir

    return asyncio.run(make())
