"""Objects: durable bytes first, then the row that makes them exist; on the way out the row goes first.

Used by the OSS door, and by `app` for code that lives in a bucket. Multipart uploads are in `store.objects.multipart`.
Never shows an object whose bytes are not wholly on the disk, and never changes bytes that a reader has open.
"""

import asyncio
import os
from collections.abc import Callable, Coroutine, Iterable
from io import FileIO
from pathlib import Path
from typing import Any, TypeVar
from weakref import WeakValueDictionary

import fastcrc
import msgspec
import sqlalchemy as sa
import structlog

from sesame.model import records
from sesame.model.errors import Conflict, NotFound, PlatformError
from sesame.model.object import ObjectKind, StoredObject
from sesame.store.blob_writer import BlobThreads, Upload
from sesame.store.blobs import COPY_BYTES, Draft, Written
from sesame.store.objects.listing import ListQuery, ObjectPage, list_objects
from sesame.store.sql.database import Database
from sesame.store.sql.object_schema import object_of, object_row, objects, parts, uploads
from sesame.store.sql.schema import records as records_table
from sesame.store.sql.sqlite import json_text, upsert

T = TypeVar("T")

PREFETCH_BYTES = 256 * 1024
_OPEN_ATTEMPTS = 20

log = structlog.get_logger(__name__)


class Reader:
    """An object as it stood when it was opened, whatever happens to it since. Close it."""

    def __init__(self, stored: StoredObject, file: FileIO | None, whole: bytes | None, threads: BlobThreads) -> None:
        self.stored = stored
        self._file = file
        self._whole = whole
        self._threads = threads

    def named_by(self, link: StoredObject) -> "Reader":
        """The same bytes with the user metadata of a symlink that was followed to them."""
        said = {name: value for name, value in link.meta.headers.items() if name.startswith("x-oss-meta-")}
        meta = msgspec.structs.replace(self.stored.meta, headers={**self.stored.meta.headers, **said})
        return Reader(msgspec.structs.replace(self.stored, meta=meta), self._file, self._whole, self._threads)

    async def read(self, start: int, length: int) -> bytes:
        """Up to `length` bytes from `start`; small objects are in memory already."""
        if self._whole is not None:
            return self._whole[start : start + length]
        assert self._file is not None
        descriptor = self._file.fileno()
        return await self._threads.run(os.pread, descriptor, min(length, self.stored.size - start), start)

    def copy_into(self, draft: Draft, start: int, length: int) -> None:
        """Blocks."""
        if self._whole is not None:
            draft.write((self._whole[start : start + length],))
        elif self._file is not None:
            draft.copy(self._file.fileno(), start, length)

    def close(self) -> None:
        if self._file is not None:
            self._file.close()


class Totals(msgspec.Struct, frozen=True):
    """`by_storage_class` gives the number of objects and their bytes."""

    objects: int
    size_bytes: int
    uploads: int
    by_storage_class: dict[str, tuple[int, int]]


class Objects:
    """`root` belongs to this object alone; its rows live in the given database."""

    def __init__(self, database: Database, root: Path) -> None:
        self.database = database
        self.threads = BlobThreads(root)
        # A lock lives as long as somebody appends to its object or waits to.
        self._appending: WeakValueDictionary[tuple[str, str], asyncio.Lock] = WeakValueDictionary()
        self._settling: set[asyncio.Task[Any]] = set()

    async def open(self) -> int:
        """Recovers from however the last run ended; answers how many stray files were removed."""
        await self.threads.run(self.threads.blobs.open)
        known = await self.database.load(_known_blobs)
        removed = await self.threads.run(self.threads.blobs.sweep, known)
        if removed:
            log.info("removed files that no object mentions", files=removed)
        return removed

    async def close(self) -> None:
        """Finishes what was begun; the database must still be open."""
        while self._settling:
            await asyncio.wait(self._settling)
        await asyncio.to_thread(self.threads.close)

    def upload(self) -> Upload:
        return Upload(self.threads)

    async def head(self, bucket: str, key: str) -> StoredObject | None:
        return await self.database.read(lambda connection: find(connection, bucket, key))

    async def open_reader(self, bucket: str, key: str) -> Reader | None:
        """None when there is no such object."""

        def attempt(connection: sa.Connection) -> Reader | None:
            stored = find(connection, bucket, key)
            return None if stored is None else self._open(stored)

        for _attempt in range(_OPEN_ATTEMPTS):
            try:
                return await self.database.read(attempt)
            except FileNotFoundError:
                # Overwritten between the row and the file: the next look sees the new row.
                continue
        raise PlatformError(f"the bytes of object '{key}' in bucket '{bucket}' are missing")

    async def put(self, stored: StoredObject, *, overwrite: bool = True) -> None:
        """Makes written bytes an object, or replaces the one there. Takes the blob over, also when it is refused.

        Raises NotFound (NoSuchBucket), and Conflict (FileAlreadyExists) without `overwrite`.
        """

        def commit(connection: sa.Connection) -> str:
            require_bucket(connection, stored.bucket)
            return put_row(connection, stored, overwrite=overwrite)

        await self.settle(self._replace(commit, stored.blob))

    async def copy(self, reader: Reader, start: int, length: int) -> Written:
        """A stretch of an opened object as a blob of its own."""

        def copy() -> Written:
            with self.threads.blobs.draft() as draft:
                reader.copy_into(draft, start, length)
                return draft.finish()

        return await self.threads.run(copy)

    async def update(self, bucket: str, key: str, change: Callable[[StoredObject], StoredObject]) -> StoredObject:
        """Changes what is said of an object, not its bytes. Raises NotFound (NoSuchKey)."""

        def commit(connection: sa.Connection) -> StoredObject:
            former = find(connection, bucket, key)
            if former is None:
                raise NotFound("The specified key does not exist.", code="NoSuchKey")
            stored = msgspec.structs.replace(change(former), bucket=bucket, key=key, blob=former.blob)
            write_row(connection, stored)
            return stored

        return await self.database.write(commit)

    async def delete(self, bucket: str, keys: Iterable[str]) -> None:
        """What is not there counts as deleted."""
        wanted = [key.encode() for key in keys]

        def commit(connection: sa.Connection) -> list[str]:
            these = sa.and_(objects.c.bucket == bucket, objects.c.key.in_(wanted))
            blobs = list(connection.execute(sa.select(objects.c.blob).where(these)).scalars())
            connection.execute(sa.delete(objects).where(these))
            return blobs

        async def delete_and_remove() -> None:
            blobs = await self.database.write(commit)
            await self.threads.remove(*filter(None, blobs))

        await self.settle(delete_and_remove())

    async def page(self, query: ListQuery) -> ObjectPage:
        return await self.database.read(lambda connection: list_objects(connection, query))

    async def totals(self, bucket: str) -> Totals:
        def count(connection: sa.Connection) -> Totals:
            storage_class = json_text(objects.c.meta, "storage_class")
            sums = sa.select(storage_class, sa.func.count(), sa.func.sum(objects.c.size)).group_by(storage_class)
            found = connection.execute(sums.where(objects.c.bucket == bucket)).all()
            pending = sa.select(sa.func.count()).where(uploads.c.bucket == bucket)
            return Totals(
                objects=sum(number for _, number, _ in found),
                size_bytes=sum(size for _, _, size in found),
                uploads=connection.execute(pending).scalar_one(),
                by_storage_class={name: (number, size) for name, number, size in found},
            )

        return await self.database.read(count)

    async def append(self, written: Written, at: StoredObject, position: int) -> StoredObject:
        """Appends written bytes to an appendable object, or begins one (`at` says what it shall be then).

        Raises NotFound (NoSuchBucket), Conflict (ObjectNotAppendable, PositionNotEqualToLength).
        """
        lock = self._appending.setdefault((at.bucket, at.key), asyncio.Lock())
        async with lock:
            return await self.settle(self._append(written, at, position))

    async def settle(self, work: Coroutine[Any, Any, T]) -> T:
        """Runs to its end even if the caller is cancelled: between a file and its row nobody may stop."""
        task = asyncio.create_task(work)
        self._settling.add(task)
        task.add_done_callback(self._settling.discard)
        return await asyncio.shield(task)

    async def _replace(self, commit: Callable[[sa.Connection], str], blob: str) -> None:
        try:
            former = await self.database.write(commit)
        except (NotFound, Conflict):
            await self.threads.remove(blob)
            raise
        if former:
            await self.threads.remove(former)

    async def _append(self, written: Written, at: StoredObject, position: int) -> StoredObject:
        former = await self.head(at.bucket, at.key)
        length = former.size if former is not None else 0
        try:
            if former is not None and former.kind is not ObjectKind.APPENDABLE:
                raise Conflict("The object is not appendable", code="ObjectNotAppendable")
            if position != length:
                raise PositionMismatch(length)
        except Conflict:
            await self.threads.remove(written.blob)
            raise
        if former is None:
            await self.put(at)
            return at

        def commit(connection: sa.Connection) -> None:
            present = find(connection, at.bucket, at.key)
            if present is None or (present.blob, present.size) != (former.blob, former.size):
                raise PositionMismatch(present.size if present else 0)
            if grown is None:
                raise PlatformError(f"the bytes of object '{at.key}' in bucket '{at.bucket}' are missing")
            write_row(connection, grown)

        try:
            grown = await self.threads.run(self._grow, former, written, at)
            await self.database.write(commit)
            assert grown is not None, "else the commit has refused it"
        finally:
            await self.threads.remove(written.blob)
        return grown

    def _grow(self, former: StoredObject, written: Written, at: StoredObject) -> StoredObject | None:
        """Copies the new bytes behind the old ones; readers see them when the row says so.

        None when the old ones are gone: the object was overwritten or deleted meanwhile.
        """
        crc64 = former.crc64
        with self.threads.blobs.path(written.blob).open("rb") as source:
            try:
                growing = self.threads.blobs.growing(former.blob, former.size)
                with growing as target:
                    while chunk := source.read(COPY_BYTES):
                        target.write(chunk)
                        crc64 = fastcrc.crc64.xz(chunk, crc64)
            except FileNotFoundError:
                return None
        return msgspec.structs.replace(
            former, size=former.size + written.size, etag=at.etag, crc64=crc64, modified_at=at.modified_at
        )

    def _open(self, stored: StoredObject) -> Reader:
        if not stored.blob:
            return Reader(stored, None, b"", self.threads)
        file = FileIO(self.threads.blobs.path(stored.blob))
        if stored.size > PREFETCH_BYTES:
            return Reader(stored, file, None, self.threads)
        with file:
            return Reader(stored, None, os.pread(file.fileno(), stored.size, 0), self.threads)


class PositionMismatch(Conflict):
    """An append at another place than the end; `length` is where it would go on."""

    code = "PositionNotEqualToLength"

    def __init__(self, length: int) -> None:
        super().__init__("Position is not equal to file length")
        self.length = length


def find(connection: sa.Connection, bucket: str, key: str) -> StoredObject | None:
    row = connection.execute(_SELECT, {"b": bucket, "k": key.encode()}).one_or_none()
    return None if row is None else object_of(row)


def put_row(connection: sa.Connection, stored: StoredObject, *, overwrite: bool) -> str:
    """The blob that was replaced, "" without one. Raises Conflict (FileAlreadyExists) without `overwrite`."""
    former = find(connection, stored.bucket, stored.key)
    if former is not None and not overwrite:
        raise Conflict("The object you specified already exists and can not be overwritten.", code="FileAlreadyExists")
    write_row(connection, stored)
    return former.blob if former is not None else ""


def write_row(connection: sa.Connection, stored: StoredObject) -> None:
    connection.execute(_UPSERT, object_row(stored))


def require_bucket(connection: sa.Connection, bucket: str) -> None:
    """Inside the transaction that adds to it, so that a bucket is never deleted with something in it."""
    if connection.execute(_BUCKET, {"b": bucket}).first() is None:
        raise NotFound("The specified bucket does not exist.", code="NoSuchBucket")


def require_empty(connection: sa.Connection, bucket: str) -> None:
    """For the transaction that deletes a bucket. Raises Conflict (BucketNotEmpty)."""
    for table, what in ((objects, "objects"), (uploads, "multipart uploads")):
        if connection.execute(sa.select(table.c.bucket).where(table.c.bucket == bucket).limit(1)).first() is not None:
            raise Conflict(f"The bucket has {what}. Please delete them first.", code="BucketNotEmpty")


def _known_blobs(connection: sa.Connection) -> set[str]:
    found = sa.union_all(sa.select(objects.c.blob), sa.select(parts.c.blob))
    return set(connection.execute(found).scalars())


_SELECT = sa.select(objects).where(objects.c.bucket == sa.bindparam("b"), objects.c.key == sa.bindparam("k"))
_BUCKET = sa.select(records_table.c.name).where(
    records_table.c.kind == records.BUCKET, records_table.c.parent == "", records_table.c.name == sa.bindparam("b")
)
_UPSERT = upsert(objects)
