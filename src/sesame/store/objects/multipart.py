"""Stores multipart uploads: each part is durable on its own, and one transaction turns the parts into an object.

Used by the OSS endpoint beside `store.objects.objects`. Parts, like objects, are replaced as a whole.
"""

import hashlib
from collections.abc import Callable, Sequence

import msgspec
import sqlalchemy as sa

from sesame.model.errors import UPLOAD, CallerError, NotFound
from sesame.model.object import ObjectKind, Part, PendingUpload, StoredObject, Written
from sesame.model.object_event import ABORT_UPLOAD, Cause
from sesame.store.blobs.interface import ByteRange
from sesame.store.objects.events import Changed, created
from sesame.store.objects.listing import successor
from sesame.store.objects.objects import BlobRow, Objects
from sesame.store.objects.rows import owner_of, put_row, require_bucket
from sesame.store.sql.dialect import upsert
from sesame.store.sql.object_schema import part_of, part_row, parts, upload_of, upload_row, uploads

# POLICY: uploads older than this are aborted. The cloud keeps them until a lifecycle rule of the bucket aborts them.
UPLOAD_AGE_S = 30 * 86400.0


class PartReplaced(CallerError):
    """A part was replaced after the caller listed it for completion."""

    def __init__(self) -> None:
        super().__init__("a part was replaced while its upload was completed")


class UploadQuery(msgspec.Struct, frozen=True):
    """At most `limit` uploads of keys that begin with `prefix`, in order of key and id, after those two given."""

    bucket: str
    prefix: str = ""
    key_after: str = ""
    id_after: str = ""
    limit: int = 1000


class Uploads:
    def __init__(self, objects: Objects, clock: Callable[[], float]) -> None:
        self._objects = objects
        self._database = objects.database
        self._removals = objects.removals
        self._events = objects.events
        self._clock = clock

    async def begin(self, upload: PendingUpload, cause: Cause | None = None) -> None:
        """Raises NotFound for the bucket."""

        def act(connection: sa.Connection) -> tuple[None, list[str]]:
            require_bucket(connection, upload.bucket, cause)
            connection.execute(sa.insert(uploads).values(upload_row(upload)))
            self._events.note(connection, cause, [_about(upload)])
            return None, []

        await self._objects.commit(upload.bucket, act)

    async def get(self, bucket: str, key: str, upload_id: str) -> PendingUpload:
        """Raises NotFound, also if the id belongs to an upload of another object."""
        return await self._database.read(lambda connection: _require(connection, bucket, key, upload_id))

    async def put_part(self, upload: PendingUpload, number: int, written: Written, cause: Cause | None = None) -> Part:
        """Takes ownership of the blob, which is deleted if the part is refused. Raises NotFound."""
        part = Part(
            number=number,
            blob=written.blob,
            size=written.size,
            etag=written.md5,
            crc64=written.crc64,
            modified_at=self._clock(),
        )

        def commit(connection: sa.Connection) -> list[str]:
            _require(connection, upload.bucket, upload.key, upload.upload_id)
            here = sa.and_(parts.c.upload_id == upload.upload_id, parts.c.number == number)
            former = connection.execute(sa.select(parts.c.blob).where(here)).scalars().all()
            connection.execute(_UPSERT_PART, part_row(upload.upload_id, part))
            # The object does not change before the upload is completed, so that the sizes in its events add up.
            about = Changed(upload.bucket, upload.key, upload.meta, part.etag, part.size)
            self._events.note(connection, cause, [about])
            return self._removals.note(connection, list(former))

        await self._objects.settle(self._objects.replace(commit, BlobRow(upload.bucket, part.blob)))
        return part

    async def parts(self, upload: PendingUpload, after: int = 0, limit: int | None = None) -> list[Part]:
        """Parts with numbers above `after`, in order of number."""
        chosen = sa.select(parts).where(parts.c.upload_id == upload.upload_id, parts.c.number > after)
        chosen = chosen.order_by(parts.c.number).limit(limit)
        return await self._database.read(lambda connection: [part_of(row) for row in connection.execute(chosen)])

    async def page(self, query: UploadQuery) -> list[PendingUpload]:
        key, prefix = uploads.c.key, query.prefix.encode()
        chosen = sa.select(uploads).where(uploads.c.bucket == query.bucket, key >= prefix)
        if (end := successor(prefix)) is not None:
            chosen = chosen.where(key < end)
        if query.key_after:
            after = query.key_after.encode()
            later_id = sa.and_(key == after, uploads.c.upload_id > query.id_after)
            chosen = chosen.where(sa.or_(key > after, later_id) if query.id_after else key > after)
        chosen = chosen.order_by(key, uploads.c.upload_id).limit(query.limit)
        return await self._database.read(lambda connection: [upload_of(row) for row in connection.execute(chosen)])

    async def complete(
        self, upload: PendingUpload, chosen: Sequence[Part], cause: Cause | None = None, *, overwrite: bool = True
    ) -> StoredObject:
        """Joins the chosen parts in the given order into the object, and ends the upload.

        Raises NotFound, PartReplaced if a part was replaced meanwhile, and AlreadyExists without `overwrite`.
        """
        try:
            written = await self._objects.blobs.compose([ByteRange(part.blob, 0, part.size) for part in chosen])
        except FileNotFoundError as error:
            # Either the upload ended, which `get` reports, or a part was replaced after the list was checked.
            await self.get(upload.bucket, upload.key, upload.upload_id)
            raise PartReplaced from error
        # As on the real service: the MD5 of the parts' ETags, not of the bytes, and the number of parts.
        joined = hashlib.md5("".join(part.etag for part in chosen).encode(), usedforsecurity=False)
        stored = StoredObject(
            bucket=upload.bucket,
            key=upload.key,
            blob=written.blob,
            size=written.size,
            etag=f"{joined.hexdigest().upper()}-{len(chosen)}",
            crc64=written.crc64,
            kind=ObjectKind.MULTIPART,
            meta=upload.meta,
            modified_at=self._clock(),
        )

        def commit(connection: sa.Connection) -> list[str]:
            require_bucket(connection, upload.bucket, cause)
            _require(connection, upload.bucket, upload.key, upload.upload_id)
            present = sa.select(parts.c.number, parts.c.blob).where(parts.c.upload_id == upload.upload_id)
            blobs: dict[int, str] = {row.number: row.blob for row in connection.execute(present)}
            if any(blobs.get(part.number) != part.blob for part in chosen):
                raise PartReplaced
            former = put_row(connection, stored, overwrite=overwrite)
            self._events.note(connection, cause, [created(stored, former)])
            replaced = [former.blob] if former is not None else []
            return self._removals.note(connection, [*_forget(connection, upload.upload_id), *replaced])

        await self._objects.settle(self._objects.replace(commit, stored))
        return stored

    async def abort(self, upload: PendingUpload, cause: Cause | None = None) -> None:
        """Raises NotFound."""

        def act(connection: sa.Connection) -> tuple[None, list[str]]:
            _require(connection, upload.bucket, upload.key, upload.upload_id)
            self._events.note(connection, cause, [_about(upload)])
            return None, self._removals.note(connection, _forget(connection, upload.upload_id))

        await self._objects.commit(upload.bucket, act)

    async def abort_old(self, age_s: float = UPLOAD_AGE_S) -> int:
        """Aborts uploads that were initiated more than `age_s` seconds ago; returns the number aborted."""
        now = self._clock()
        old = sa.select(uploads).where(uploads.c.initiated_at < now - age_s)

        def commit(connection: sa.Connection) -> tuple[list[PendingUpload], list[str]]:
            found = [upload_of(row) for row in connection.execute(old)]
            for upload in found:
                # A bucket with uploads cannot be deleted, so it still has the owner under whom they began.
                owner = owner_of(connection, upload.bucket)
                cause = Cause(event=ABORT_UPLOAD, account_id=owner, principal_id=owner, at=now)
                self._events.note(connection, cause, [_about(upload)])
            blobs = [blob for upload in found for blob in _forget(connection, upload.upload_id)]
            return found, self._removals.note(connection, blobs)

        async def forget() -> int:
            found, blobs = await self._database.write(commit)
            for bucket in {upload.bucket for upload in found}:
                self._events.announce(bucket)
            await self._removals.act(blobs)
            return len(found)

        return await self._objects.settle(forget())


def _require(connection: sa.Connection, bucket: str, key: str, upload_id: str) -> PendingUpload:
    row = connection.execute(sa.select(uploads).where(uploads.c.upload_id == upload_id)).one_or_none()
    upload = upload_of(row) if row is not None else None
    if upload is None or (upload.bucket, upload.key) != (bucket, key):
        raise NotFound(UPLOAD, upload_id, (bucket, key))
    return upload


def _forget(connection: sa.Connection, upload_id: str) -> list[str]:
    """Deletes the rows of the upload and its parts; returns the parts' blobs."""
    blobs = list(connection.execute(sa.select(parts.c.blob).where(parts.c.upload_id == upload_id)).scalars())
    connection.execute(sa.delete(parts).where(parts.c.upload_id == upload_id))
    connection.execute(sa.delete(uploads).where(uploads.c.upload_id == upload_id))
    return blobs


def _about(upload: PendingUpload) -> Changed:
    """The upload's event; it has no bytes of its own, because its parts have their own events."""
    return Changed(upload.bucket, upload.key, upload.meta)


_UPSERT_PART = upsert(parts)
