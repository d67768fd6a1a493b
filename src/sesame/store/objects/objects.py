"""Stores objects: the bytes in a blob, everything else in a database row. Writes the blob first, deletes the row first.

Used by the OSS endpoint, and by `app` for code in a bucket. Multipart uploads are in `store.objects.multipart`.
An object is never visible before its bytes are on the disk, and an open reader's bytes never change.
"""

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Sequence
from pathlib import Path
from typing import Any, TypeVar
from weakref import WeakValueDictionary

import msgspec
import sqlalchemy as sa
import structlog
from fastcrc import crc64

from sesame.model import records
from sesame.model.errors import OBJECT, AlreadyExists, CallerError, NotEmpty, NotFound, PlatformError
from sesame.model.object import ObjectKind, StoredObject, Written
from sesame.store import outbox
from sesame.store.blobs.draft import Swept
from sesame.store.blobs.files import FileBlobs
from sesame.store.blobs.interface import BlobReader
from sesame.store.blobs.upload import Upload
from sesame.store.objects.listing import ListQuery, ObjectPage, list_objects
from sesame.store.objects.removals import Removals
from sesame.store.quarantine import Quarantine
from sesame.store.sql.database import Database
from sesame.store.sql.dialect import json_text, upsert
from sesame.store.sql.object_schema import object_of, object_row, objects, parts, uploads
from sesame.store.sql.schema import records as records_table

T = TypeVar("T")

# POLICY: a draft untouched for this long belongs to an abandoned upload; connections are closed long before.
DRAFT_AGE_S = 24 * 3600.0
# POLICY: a blob without a row for this long never gets one; normally its row is committed right after the upload.
UNCLAIMED_AGE_S = 3600.0
_OPEN_ATTEMPTS = 20

log = structlog.get_logger(__name__)


class Reader:
    """An open object. Later writes and deletions do not affect it. The caller must close it."""

    def __init__(self, stored: StoredObject, blob: BlobReader) -> None:
        self.stored = stored
        self.blob = blob

    def named_by(self, link: StoredObject) -> "Reader":
        """The same bytes, with the user metadata of `link`, the symlink that names this object."""
        said = {name: value for name, value in link.meta.headers.items() if name.startswith("x-oss-meta-")}
        meta = msgspec.structs.replace(self.stored.meta, headers={**self.stored.meta.headers, **said})
        return Reader(msgspec.structs.replace(self.stored, meta=meta), self.blob)

    async def read(self, start: int, length: int) -> bytes:
        """Up to `length` bytes from `start`. Small objects are served from memory."""
        return await self.blob.read(start, length)

    async def whole(self) -> bytes:
        """All bytes. Raises PlatformError if their size or CRC-64 differs from the row's."""
        data = await self.blob.read(0, self.stored.size)
        if len(data) != self.stored.size or await asyncio.to_thread(crc64.xz, data) != self.stored.crc64:
            raise PlatformError(
                f"the bytes of object '{self.stored.key}' in bucket '{self.stored.bucket}' are not those that were "
                "stored: run `sesame doctor --check`, and upload the object again"
            )
        return data

    def close(self) -> None:
        self.blob.close()


class Totals(msgspec.Struct, frozen=True):
    """`by_storage_class`: the number of objects and their bytes. `modified_at`: Unix seconds, the latest; 0: none."""

    objects: int
    size_bytes: int
    uploads: int
    parts: int
    modified_at: float
    by_storage_class: dict[str, tuple[int, int]]


class Objects:
    """Belongs to one event loop. `root` is used by nothing else; the rows are in `database`."""

    def __init__(self, database: Database, root: Path, quarantine: Quarantine | None = None) -> None:
        self.database = database
        self.blobs = FileBlobs(root, quarantine or Quarantine(root.parent / "quarantine"))
        self.removals = Removals(database, self.blobs)
        # One lock per object, dropped when no request appends to that object or waits to.
        self._appending: WeakValueDictionary[tuple[str, str], asyncio.Lock] = WeakValueDictionary()
        self._settling: set[asyncio.Task[Any]] = set()

    async def open(self) -> Swept:
        """Compares files with rows, because the last run may have crashed. Deletes only blobs in the outbox.

        Raises `ConfigurationError` if the database cannot be read.
        """
        await self.blobs.run(self.blobs.folder.open)
        known, removed = await self.database.load(_blobs_by_rows)
        swept = await self.blobs.run(self.blobs.folder.sweep, known, removed)
        if removed:
            await self.database.write(
                lambda connection: outbox.remove(connection, outbox.BLOB_REMOVED, sorted(removed))
            )
        if swept != Swept():
            log.warning("files of objects did not match the database", **msgspec.structs.asdict(swept))
        return swept

    async def collect(self) -> int:
        """Deletes old drafts and blobs that cancelled uploads left behind; returns the number of files."""
        removed = await self.blobs.run(self.blobs.folder.remove_drafts, DRAFT_AGE_S)
        return removed + await self._delete_unclaimed(UNCLAIMED_AGE_S)

    async def close(self) -> None:
        """Waits for pending changes, then closes the files. The database must still be open."""
        while self._settling:
            await asyncio.wait(self._settling)
        # No upload is in progress any more, so a blob without a row will never get one.
        await self._delete_unclaimed(0.0)
        await self.removals.close()
        await asyncio.to_thread(self.blobs.close)

    def upload(self) -> Upload:
        return self.blobs.upload()

    async def discard(self, written: Written) -> None:
        """Deletes a blob that no row will mention."""
        await self.blobs.delete([written.blob])

    async def head(self, bucket: str, key: str) -> StoredObject | None:
        return await self.database.read(lambda connection: find(connection, bucket, key))

    async def open_reader(self, bucket: str, key: str) -> Reader | None:
        """None if there is no such object. Raises PlatformError if its file is missing."""

        def attempt(connection: sa.Connection) -> Reader | None:
            stored = find(connection, bucket, key)
            return None if stored is None else Reader(stored, self.blobs.open_reader(stored.blob, stored.size))

        for _attempt in range(_OPEN_ATTEMPTS):
            try:
                return await self.database.read(attempt)
            except FileNotFoundError:
                # The object was overwritten after its row was read; the next attempt reads the new row.
                continue
        raise PlatformError(
            f"the bytes of object '{key}' in bucket '{bucket}' are missing: `sesame doctor --check` lists all that are"
        )

    async def put(self, stored: StoredObject, *, overwrite: bool = True) -> None:
        """Creates or replaces an object. Takes ownership of the blob, which is deleted if the object is refused.

        Raises NotFound for the bucket, and AlreadyExists without `overwrite`.
        """

        def commit(connection: sa.Connection) -> list[str]:
            require_bucket(connection, stored.bucket)
            return self.removals.note(connection, [put_row(connection, stored, overwrite=overwrite)])

        await self.settle(self.replace(commit, stored.blob))

    async def copy(self, reader: Reader, start: int, length: int) -> Written:
        """Copies a byte range of an open object into a new blob."""
        return await self.blobs.copy(reader.blob, start, length)

    async def update(self, bucket: str, key: str, change: Callable[[StoredObject], StoredObject]) -> StoredObject:
        """Changes an object's row but not its bytes. Raises NotFound."""

        def commit(connection: sa.Connection) -> StoredObject:
            former = find(connection, bucket, key)
            if former is None:
                raise NotFound(OBJECT, key, (bucket,))
            stored = msgspec.structs.replace(change(former), bucket=bucket, key=key, blob=former.blob)
            write_row(connection, stored)
            return stored

        return await self.database.write(commit)

    async def delete(self, bucket: str, keys: Iterable[str]) -> None:
        """Deletes objects; ignores keys that do not exist."""
        wanted = [key.encode() for key in keys]

        def commit(connection: sa.Connection) -> list[str]:
            these = sa.and_(objects.c.bucket == bucket, objects.c.key.in_(wanted))
            blobs = list(connection.execute(sa.select(objects.c.blob).where(these)).scalars())
            connection.execute(sa.delete(objects).where(these))
            return self.removals.note(connection, blobs)

        async def delete_and_remove() -> None:
            await self.removals.act(await self.database.write(commit))

        await self.settle(delete_and_remove())

    async def delete_unchanged(self, bucket: str, found: Sequence[StoredObject]) -> int:
        """Deletes those objects whose rows still equal `found`; returns the number deleted."""
        if not found:
            return 0

        def commit(connection: sa.Connection) -> tuple[int, list[str]]:
            same = [stored for stored in found if find(connection, bucket, stored.key) == stored]
            keys = [stored.key.encode() for stored in same]
            connection.execute(sa.delete(objects).where(objects.c.bucket == bucket, objects.c.key.in_(keys)))
            return len(same), self.removals.note(connection, [stored.blob for stored in same])

        async def delete_and_remove() -> int:
            deleted, blobs = await self.database.write(commit)
            await self.removals.act(blobs)
            return deleted

        return await self.settle(delete_and_remove())

    async def page(self, query: ListQuery) -> ObjectPage:
        return await self.database.read(lambda connection: list_objects(connection, query))

    async def totals(self, bucket: str) -> Totals:
        def count(connection: sa.Connection) -> Totals:
            storage_class = json_text(objects.c.meta, "storage_class")
            sums = sa.select(
                storage_class, sa.func.count(), sa.func.sum(objects.c.size), sa.func.max(objects.c.modified_at)
            ).group_by(storage_class)
            found = connection.execute(sums.where(objects.c.bucket == bucket)).all()
            pending = sa.select(sa.func.count()).where(uploads.c.bucket == bucket)
            pending_parts = pending.join_from(uploads, parts, parts.c.upload_id == uploads.c.upload_id)
            return Totals(
                objects=sum(number for _, number, _, _ in found),
                size_bytes=sum(size for _, _, size, _ in found),
                uploads=connection.execute(pending).scalar_one(),
                parts=connection.execute(pending_parts).scalar_one(),
                modified_at=max((modified_at for *_, modified_at in found), default=0.0),
                by_storage_class={name: (number, size) for name, number, size, _ in found},
            )

        return await self.database.read(count)

    async def append(self, written: Written, at: StoredObject, position: int) -> StoredObject:
        """Appends `written` to an appendable object, or creates the object as `at` describes it.

        Raises NotFound for the bucket, NotAppendable, PositionMismatch.
        """
        lock = self._appending.setdefault((at.bucket, at.key), asyncio.Lock())
        async with lock:
            return await self.settle(self._append(written, at, position))

    async def settle(self, work: Coroutine[Any, Any, T]) -> T:
        """Runs `work` to its end even if the caller is cancelled, so that blob and row stay consistent."""
        task = asyncio.create_task(work)
        self._settling.add(task)
        task.add_done_callback(self._settling.discard)
        return await asyncio.shield(task)

    async def _delete_unclaimed(self, age_s: float) -> int:
        """Deletes blobs that this process finished at least `age_s` ago and that no row mentions."""
        unclaimed = set(self.blobs.folder.unclaimed(age_s))
        if not unclaimed:
            return 0
        known, _removed = await self.database.read(_blobs_by_rows)
        for blob in unclaimed & known:
            self.blobs.folder.claim(blob)
        await self.blobs.delete(unclaimed - known)
        return len(unclaimed - known)

    async def replace(self, commit: Callable[[sa.Connection], list[str]], blob: str) -> None:
        """Commits a row that mentions `blob`, then deletes the blobs that `commit` returns. To be run by `settle`.

        If `commit` raises a CallerError, `blob` is deleted.
        """
        try:
            unused = await self.database.write(commit)
        except CallerError:
            await self.blobs.delete([blob])
            raise
        self.blobs.folder.claim(blob)
        await self.removals.act(unused)

    async def _append(self, written: Written, at: StoredObject, position: int) -> StoredObject:
        former = await self.head(at.bucket, at.key)
        length = former.size if former is not None else 0
        try:
            if former is not None and former.kind is not ObjectKind.APPENDABLE:
                raise NotAppendable
            if position != length:
                raise PositionMismatch(length)
        except CallerError:
            await self.discard(written)
            raise
        if former is None:
            return await self._begin(at)

        def commit(connection: sa.Connection) -> StoredObject:
            present = find(connection, at.bucket, at.key)
            if present is not None and present.kind is not ObjectKind.APPENDABLE:
                raise NotAppendable
            if present is None or (present.blob, present.size) != (former.blob, former.size):
                raise PositionMismatch(present.size if present else 0)
            if grown is None:
                raise PlatformError(f"the bytes of object '{at.key}' in bucket '{at.bucket}' are missing")
            # Keep metadata that was changed meanwhile, for example the ACL.
            stored = msgspec.structs.replace(grown, meta=present.meta)
            write_row(connection, stored)
            return stored

        try:
            grown = await self._extended(former, written, at)
            return await self.database.write(commit)
        finally:
            await self.discard(written)

    async def _begin(self, at: StoredObject) -> StoredObject:
        """Creates the object with its first append. Never replaces an object that was put meanwhile."""
        try:
            await self.put(at, overwrite=False)
        except AlreadyExists as error:
            present = await self.head(at.bucket, at.key)
            if present is not None and present.kind is not ObjectKind.APPENDABLE:
                raise NotAppendable from error
            raise PositionMismatch(present.size if present else 0) from error
        return at

    async def _extended(self, former: StoredObject, written: Written, at: StoredObject) -> StoredObject | None:
        """Writes the new bytes behind the old ones and returns the object's new row, which is not committed yet.

        None if the blob is gone because the object was overwritten or deleted meanwhile.
        """
        try:
            crc64 = await self.blobs.extend(former.blob, former.size, former.crc64, written)
        except FileNotFoundError:
            return None
        size = former.size + written.size
        return msgspec.structs.replace(former, size=size, etag=at.etag, crc64=crc64, modified_at=at.modified_at)


class NotAppendable(CallerError):
    """The object was not created by appending."""


class PositionMismatch(CallerError):
    """An append at another position than the object's end, which is `length`."""

    def __init__(self, length: int) -> None:
        super().__init__(f"the object has {length} bytes: the next append begins there")
        self.length = length


def find(connection: sa.Connection, bucket: str, key: str) -> StoredObject | None:
    row = connection.execute(_SELECT, {"b": bucket, "k": key.encode()}).one_or_none()
    return None if row is None else object_of(row)


def put_row(connection: sa.Connection, stored: StoredObject, *, overwrite: bool) -> str:
    """Writes the row; returns the blob that it replaced, or "". Raises AlreadyExists without `overwrite`."""
    former = find(connection, stored.bucket, stored.key)
    if former is not None and not overwrite:
        raise AlreadyExists(OBJECT, stored.key, (stored.bucket,))
    write_row(connection, stored)
    return former.blob if former is not None else ""


def write_row(connection: sa.Connection, stored: StoredObject) -> None:
    connection.execute(_UPSERT, object_row(stored))


def require_bucket(connection: sa.Connection, bucket: str) -> None:
    """Raises NotFound. Called in the transaction that adds to the bucket, so that no full bucket is deleted."""
    if connection.execute(_BUCKET, {"b": bucket}).first() is None:
        raise NotFound(records.BUCKET, bucket)


def require_empty(connection: sa.Connection, bucket: str) -> None:
    """For the transaction that deletes a bucket. Raises NotEmpty."""
    for table, what in ((objects, "objects"), (uploads, "multipart uploads")):
        if connection.execute(sa.select(table.c.bucket).where(table.c.bucket == bucket).limit(1)).first() is not None:
            raise NotEmpty(records.BUCKET, bucket, what)


def _blobs_by_rows(connection: sa.Connection) -> tuple[set[str], set[str]]:
    """The blobs that rows mention, and the blobs in the outbox, whose rows were deleted."""
    found = sa.union_all(sa.select(objects.c.blob), sa.select(parts.c.blob))
    removed = {entry.subject for entry in outbox.pending(connection, outbox.BLOB_REMOVED)}
    return set(connection.execute(found).scalars()) - {""}, removed


_SELECT = sa.select(objects).where(objects.c.bucket == sa.bindparam("b"), objects.c.key == sa.bindparam("k"))
_BUCKET = sa.select(records_table.c.name).where(
    records_table.c.kind == records.BUCKET, records_table.c.parent == "", records_table.c.name == sa.bindparam("b")
)
_UPSERT = upsert(objects)
