"""Stores objects: the bytes in a blob, everything else in a database row. Writes the blob first, deletes the row first.

Used by the OSS endpoint, and by `app` for code in a bucket. Multipart uploads are in `store.objects.multipart`.
An object is never visible before its bytes are durable, and an open reader's bytes never change.
"""

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Sequence
from typing import Any, TypeVar
from weakref import WeakValueDictionary

import msgspec
import sqlalchemy as sa
import structlog

from sesame.model.clocks import SYSTEM_CLOCKS
from sesame.model.errors import OBJECT, AlreadyExists, CallerError, NotFound, PlatformError
from sesame.model.object import ObjectKind, StoredObject, Written
from sesame.model.object_event import Cause
from sesame.store import outbox
from sesame.store.blobs.interface import BlobNames, BlobStore, BlobUpload, Swept
from sesame.store.objects.announcements import Announcements
from sesame.store.objects.events import ObjectEvents, created, removed
from sesame.store.objects.listing import ListQuery, ObjectPage, list_objects
from sesame.store.objects.reader import Reader, Totals
from sesame.store.objects.removals import Removals
from sesame.store.objects.rows import find, put_row, require_bucket, write_row
from sesame.store.sql.database import Database
from sesame.store.sql.dialect import json_text
from sesame.store.sql.object_schema import object_of, objects, parts, uploads

T = TypeVar("T")

# POLICY: a draft untouched for this long belongs to an abandoned upload; connections are closed long before.
DRAFT_AGE_S = 24 * 3600.0
# POLICY: a blob without a row for this long never gets one; normally its row is committed right after the upload.
UNCLAIMED_AGE_S = 3600.0
_OPEN_ATTEMPTS = 20

log = structlog.get_logger(__name__)


class Objects:
    """Belongs to one event loop. `blobs` is used by nothing else; the rows are in `database`."""

    def __init__(self, database: Database, blobs: BlobStore, wall: Callable[[], float] = SYSTEM_CLOCKS.wall) -> None:
        self.database = database
        self.blobs = blobs
        self._announcements = Announcements(database, wall) if blobs.elsewhere else None
        self.removals = Removals(database, self.blobs, wall)
        self.events = ObjectEvents()
        # One lock per object, dropped when no request appends to that object or waits to.
        self._appending: WeakValueDictionary[tuple[str, str], asyncio.Lock] = WeakValueDictionary()
        self._settling: set[asyncio.Task[Any]] = set()

    async def open(self) -> Swept:
        """Compares blobs with rows, because the last run may have crashed. Deletes only blobs in the outbox.

        Raises `ConfigurationError` if the database cannot be read.
        """
        if self._announcements is not None:
            swept = await self.blobs.open(self._names, self._announcements.add)
            await self.removals.act(await self.database.load(_removed))
            return swept
        swept = await self.blobs.open(self._names, _unannounced)
        removed = await self.database.load(_removed)
        if removed:
            await self.database.write(lambda connection: outbox.remove(connection, outbox.BLOB_REMOVED, removed))
        if swept != Swept():
            log.warning("files of objects did not match the database", **msgspec.structs.asdict(swept))
        return swept

    async def collect(self) -> int:
        """Deletes what abandoned and cancelled uploads left behind; returns the number of blobs."""
        deleted = await self.blobs.collect(DRAFT_AGE_S) + await self._delete_unclaimed(UNCLAIMED_AGE_S)
        if self._announcements is not None:
            give_up = self._announcements.give_up
            deleted += await self._delete_announced(lambda connection: give_up(connection, DRAFT_AGE_S))
        await self.removals.retry()
        return deleted

    async def close(self) -> None:
        """Waits for pending changes, then closes the blobs. The database must still be open."""
        while self._settling:
            await asyncio.wait(self._settling)
        # No upload is in progress any more, so a blob without a row will never get one.
        await self._delete_unclaimed(0.0)
        if self._announcements is not None:
            try:
                await self._delete_announced(self._announcements.give_up_own)
            except PlatformError as error:
                # They are announced, and go a day later.
                log.warning("blobs of uploads that got no row are still there", error=str(error))
        await self.removals.close()
        await self.blobs.close()

    def upload(self) -> BlobUpload:
        return self.blobs.upload()

    async def discard(self, written: Written) -> None:
        """Deletes a blob that no row will mention."""
        await self._drop(written.blob)

    async def head(self, bucket: str, key: str) -> StoredObject | None:
        return await self.database.read(lambda connection: find(connection, bucket, key))

    async def open_reader(self, bucket: str, key: str, *, for_reading: bool = True) -> Reader | None:
        """None if there is no such object. Raises PlatformError if its bytes are missing.

        Not `for_reading`, it may only be asked for its row: no store elsewhere is asked for the bytes.
        """

        def attempt(connection: sa.Connection) -> Reader | None:
            stored = find(connection, bucket, key)
            return None if stored is None else Reader(stored, self.blobs.open_reader(stored.blob, stored.size))

        for _attempt in range(_OPEN_ATTEMPTS):
            try:
                reader = await self.database.read(attempt)
                if reader is not None and for_reading:
                    await reader.prepare()
                return reader
            except FileNotFoundError:
                # The object was overwritten after its row was read; the next attempt reads the new row.
                continue
        raise PlatformError(
            f"the bytes of object '{key}' in bucket '{bucket}' are missing: `sesame doctor --check` lists all that are"
        )

    async def put(self, stored: StoredObject, cause: Cause | None = None, *, overwrite: bool = True) -> None:
        """Creates or replaces an object. Takes ownership of the blob, which is deleted if the object is refused.

        Raises NotFound for the bucket, and AlreadyExists without `overwrite`. Here and below, the event that `cause`
        says is committed with the change; None raises none.
        """

        def commit(connection: sa.Connection) -> list[str]:
            require_bucket(connection, stored.bucket, cause)
            former = put_row(connection, stored, overwrite=overwrite)
            self.events.note(connection, cause, [created(stored, former)])
            return self.removals.note(connection, [former.blob] if former is not None else [])

        await self.settle(self.replace(commit, stored))

    async def copy(self, reader: Reader, start: int, length: int) -> Written:
        """Copies a byte range of an open object into a new blob."""
        return await self.blobs.copy(reader.blob, start, length)

    async def update(
        self, bucket: str, key: str, change: Callable[[StoredObject], StoredObject], cause: Cause | None = None
    ) -> StoredObject:
        """Changes an object's row but not its bytes. Raises NotFound. Without a difference there is no event."""

        def act(connection: sa.Connection) -> tuple[StoredObject, list[str]]:
            former = find(connection, bucket, key)
            if former is None:
                raise NotFound(OBJECT, key, (bucket,))
            stored = msgspec.structs.replace(change(former), bucket=bucket, key=key, blob=former.blob)
            if stored != former:
                write_row(connection, stored)
                self.events.note(connection, cause, [created(stored, former)])
            return stored, []

        return await self.commit(bucket, act)

    async def delete(self, bucket: str, keys: Iterable[str], cause: Cause | None = None) -> None:
        """Deletes objects; ignores keys that do not exist, and raises no event for them."""
        wanted = [key.encode() for key in keys]

        def act(connection: sa.Connection) -> tuple[None, list[str]]:
            these = sa.and_(objects.c.bucket == bucket, objects.c.key.in_(wanted))
            found = connection.execute(sa.select(objects).where(these)).all()
            connection.execute(sa.delete(objects).where(these))
            if self.events.watched(bucket):
                self.events.note(connection, cause, [removed(object_of(row)) for row in found])
            return None, self.removals.note(connection, [row.blob for row in found])

        await self.commit(bucket, act)

    async def delete_unchanged(self, bucket: str, found: Sequence[StoredObject], cause: Cause | None = None) -> int:
        """Deletes those objects whose rows still equal `found`; returns the number deleted."""
        if not found:
            return 0

        def act(connection: sa.Connection) -> tuple[int, list[str]]:
            same = [stored for stored in found if find(connection, bucket, stored.key) == stored]
            keys = [stored.key.encode() for stored in same]
            connection.execute(sa.delete(objects).where(objects.c.bucket == bucket, objects.c.key.in_(keys)))
            self.events.note(connection, cause, [removed(stored) for stored in same])
            return len(same), self.removals.note(connection, [stored.blob for stored in same])

        return await self.commit(bucket, act)

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

    async def append(
        self, written: Written, at: StoredObject, position: int, cause: Cause | None = None
    ) -> StoredObject:
        """Appends `written` to an appendable object, or creates the object as `at` describes it.

        Raises NotFound for the bucket, NotAppendable, PositionMismatch.
        """
        lock = self._appending.setdefault((at.bucket, at.key), asyncio.Lock())

        async def append() -> StoredObject:
            # Taken here, because this goes on if the caller is cancelled: the next append must not write beside it.
            async with lock:
                return await self._append(written, at, position, cause)

        return await self.settle(append())

    async def settle(self, work: Coroutine[Any, Any, T]) -> T:
        """Runs `work` to its end even if the caller is cancelled, so that blob and row stay consistent."""
        task = asyncio.create_task(work)
        self._settling.add(task)
        task.add_done_callback(self._settling.discard)
        return await asyncio.shield(task)

    async def commit(self, bucket: str, act: Callable[[sa.Connection], tuple[T, list[str]]]) -> T:
        """Changes rows of the bucket, announces its events, and deletes the blobs that `act` returns with its result.

        Goes on to its end even if the caller is cancelled.
        """

        async def change() -> T:
            result, unused = await self.database.write(act)
            self.events.announce(bucket)
            await self.removals.act(unused)
            return result

        return await self.settle(change())

    async def _delete_unclaimed(self, age_s: float) -> int:
        """Deletes blobs that this process finished at least `age_s` ago and that no row mentions."""
        unclaimed = set(self.blobs.unclaimed(age_s))
        if not unclaimed:
            return 0
        known = await self.database.read(_known)
        for blob in unclaimed & known:
            self.blobs.claim(blob)
        await self.removals.drop(unclaimed - known)
        return len(unclaimed - known)

    async def _delete_announced(self, give_up: Callable[[sa.Connection], list[str]]) -> int:
        """Deletes blobs that have got no row: those whose announcements `give_up` takes back."""
        assert self._announcements is not None
        blobs = await self.database.write(lambda connection: self.removals.note(connection, give_up(connection)))
        self._announcements.ended(blobs)
        await self.removals.act(blobs)
        return len(blobs)

    async def replace(self, commit: Callable[[sa.Connection], list[str]], row: "StoredObject | BlobRow") -> None:
        """Commits a row that mentions a blob, then deletes the blobs that `commit` returns. To be run by `settle`.

        If `commit` raises a CallerError, the blob is deleted.
        """

        def claim_and_commit(connection: sa.Connection) -> list[str]:
            unused = commit(connection)
            # A symlink has no blob.
            if self._announcements is not None and row.blob:
                self._announcements.take(connection, row.blob)
            return unused

        try:
            unused = await self.database.write(claim_and_commit)
        except CallerError:
            await self._drop(row.blob)
            raise
        self.events.announce(row.bucket)
        self.blobs.claim(row.blob)
        if self._announcements is not None:
            self._announcements.ended([row.blob])
        await self.removals.act(unused)

    async def _drop(self, blob: str) -> None:
        if not blob:
            return
        if self._announcements is not None:
            self._announcements.ended([blob])
        await self.removals.drop([blob])

    async def _names(self) -> BlobNames:
        return await self.database.load(lambda connection: BlobNames(_known(connection), set(_removed(connection))))

    async def _append(self, written: Written, at: StoredObject, position: int, cause: Cause | None) -> StoredObject:
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
            return await self._begin(at, cause)

        def commit(connection: sa.Connection) -> StoredObject:
            require_bucket(connection, at.bucket, cause)
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
            self.events.note(connection, cause, [created(stored, former)])
            return stored

        try:
            grown = await self._extended(former, written, at)
            stored = await self.database.write(commit)
            self.events.announce(at.bucket)
            return stored
        finally:
            await self.discard(written)

    async def _begin(self, at: StoredObject, cause: Cause | None) -> StoredObject:
        """Creates the object with its first append. Never replaces an object that was put meanwhile."""
        try:
            await self.put(at, cause, overwrite=False)
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


class BlobRow(msgspec.Struct, frozen=True):
    """For `replace`: a row of another kind that mentions a blob, and whose bucket it belongs to."""

    bucket: str
    blob: str


class NotAppendable(CallerError):
    """The object was not created by appending."""


class PositionMismatch(CallerError):
    """An append at another position than the object's end, which is `length`."""

    def __init__(self, length: int) -> None:
        super().__init__(f"the object has {length} bytes: the next append begins there")
        self.length = length


def _known(connection: sa.Connection) -> set[str]:
    """The blobs that rows mention."""
    found = sa.union_all(sa.select(objects.c.blob), sa.select(parts.c.blob))
    return set(connection.execute(found).scalars()) - {""}


def _removed(connection: sa.Connection) -> list[str]:
    """The blobs in the outbox, whose rows were deleted."""
    return sorted({entry.subject for entry in outbox.pending(connection, outbox.BLOB_REMOVED)})


async def _unannounced(_blob: str) -> None:
    """For a store that finds leftovers of a crash without announcements."""
