"""Multipart uploads: parts that are durable each for itself, and the object that they become in one step.

Used by the OSS door beside `store.objects.objects`. A part is replaced whole, like an object.
Never makes an object of parts that the caller did not name, and never leaves half of one behind.
"""

import hashlib
from collections.abc import Callable, Sequence

import msgspec
import sqlalchemy as sa

from sesame.model.errors import Conflict, NotFound
from sesame.model.object import ObjectKind, Part, PendingUpload, StoredObject
from sesame.store.blobs import Written
from sesame.store.objects.objects import Objects, put_row, require_bucket
from sesame.store.sql.object_schema import part_of, part_row, parts, upload_of, upload_row, uploads
from sesame.store.sql.sqlite import upsert


class UploadQuery(msgspec.Struct, frozen=True):
    """Uploads of keys that begin with `prefix`, after the pair (`key_after`, `id_after`), in order of key and id."""

    bucket: str
    prefix: str = ""
    key_after: str = ""
    id_after: str = ""
    limit: int = 1000


class Uploads:
    def __init__(self, objects: Objects, clock: Callable[[], float]) -> None:
        self._objects = objects
        self._database = objects.database
        self._threads = objects.threads
        self._clock = clock

    async def begin(self, upload: PendingUpload) -> None:
        """Raises NotFound (NoSuchBucket)."""

        def commit(connection: sa.Connection) -> None:
            require_bucket(connection, upload.bucket)
            connection.execute(sa.insert(uploads).values(upload_row(upload)))

        await self._database.write(commit)

    async def get(self, bucket: str, key: str, upload_id: str) -> PendingUpload:
        """Raises NotFound (NoSuchUpload), also when the id belongs to another object."""
        return await self._database.read(lambda connection: _require(connection, bucket, key, upload_id))

    async def put_part(self, upload: PendingUpload, number: int, written: Written) -> Part:
        """Takes the blob over. Raises NotFound (NoSuchUpload)."""
        part = Part(
            number=number,
            blob=written.blob,
            size=written.size,
            etag=written.md5,
            crc64=written.crc64,
            modified_at=self._clock(),
        )

        def commit(connection: sa.Connection) -> str | None:
            _require(connection, upload.bucket, upload.key, upload.upload_id)
            here = sa.and_(parts.c.upload_id == upload.upload_id, parts.c.number == number)
            former: str | None = connection.execute(sa.select(parts.c.blob).where(here)).scalar_one_or_none()
            connection.execute(_UPSERT_PART, part_row(upload.upload_id, part))
            return former

        async def put() -> None:
            try:
                former = await self._database.write(commit)
            except NotFound:
                await self._threads.remove(part.blob)
                raise
            if former:
                await self._threads.remove(former)

        await self._objects.settle(put())
        return part

    async def parts(self, upload: PendingUpload, after: int = 0, limit: int | None = None) -> list[Part]:
        """In order of number, from the one after `after` on."""
        chosen = sa.select(parts).where(parts.c.upload_id == upload.upload_id, parts.c.number > after)
        chosen = chosen.order_by(parts.c.number).limit(limit)
        return await self._database.read(lambda connection: [part_of(row) for row in connection.execute(chosen)])

    async def page(self, query: UploadQuery) -> list[PendingUpload]:
        key, prefix = uploads.c.key, query.prefix.encode()
        chosen = sa.select(uploads).where(
            uploads.c.bucket == query.bucket, sa.func.substr(key, 1, len(prefix)) == prefix
        )
        if query.key_after:
            after = query.key_after.encode()
            later_id = sa.and_(key == after, uploads.c.upload_id > query.id_after)
            chosen = chosen.where(sa.or_(key > after, later_id) if query.id_after else key > after)
        chosen = chosen.order_by(key, uploads.c.upload_id).limit(query.limit)
        return await self._database.read(lambda connection: [upload_of(row) for row in connection.execute(chosen)])

    async def complete(self, upload: PendingUpload, chosen: Sequence[Part], *, overwrite: bool = True) -> StoredObject:
        """Joins the parts in the given order.

        Raises NotFound (NoSuchUpload, NoSuchBucket), and Conflict (FileAlreadyExists) without `overwrite`.
        """
        written = await self._threads.run(self._join, chosen)
        # As on the real service no MD5 of the bytes, and it says how many parts there were.
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
            require_bucket(connection, upload.bucket)
            _require(connection, upload.bucket, upload.key, upload.upload_id)
            former = put_row(connection, stored, overwrite=overwrite)
            return [*_forget(connection, upload.upload_id), *([former] if former else [])]

        async def replace() -> None:
            try:
                unused = await self._database.write(commit)
            except (NotFound, Conflict):
                await self._threads.remove(written.blob)
                raise
            await self._threads.remove(*unused)

        await self._objects.settle(replace())
        return stored

    async def abort(self, upload: PendingUpload) -> None:
        """Raises NotFound (NoSuchUpload)."""

        def commit(connection: sa.Connection) -> list[str]:
            _require(connection, upload.bucket, upload.key, upload.upload_id)
            return _forget(connection, upload.upload_id)

        async def forget() -> None:
            await self._threads.remove(*await self._database.write(commit))

        await self._objects.settle(forget())

    def _join(self, chosen: Sequence[Part]) -> Written:
        try:
            with self._threads.blobs.draft() as draft:
                for part in chosen:
                    with self._threads.blobs.path(part.blob).open("rb") as source:
                        draft.copy(source.fileno(), 0, part.size)
                return draft.finish()
        except FileNotFoundError as exc:
            raise _no_such_upload() from exc


def _require(connection: sa.Connection, bucket: str, key: str, upload_id: str) -> PendingUpload:
    row = connection.execute(sa.select(uploads).where(uploads.c.upload_id == upload_id)).one_or_none()
    upload = upload_of(row) if row is not None else None
    if upload is None or (upload.bucket, upload.key) != (bucket, key):
        raise _no_such_upload()
    return upload


def _forget(connection: sa.Connection, upload_id: str) -> list[str]:
    """Removes the upload with its parts; answers whose bytes are nobody's now."""
    blobs = list(connection.execute(sa.select(parts.c.blob).where(parts.c.upload_id == upload_id)).scalars())
    connection.execute(sa.delete(parts).where(parts.c.upload_id == upload_id))
    connection.execute(sa.delete(uploads).where(uploads.c.upload_id == upload_id))
    return blobs


def _no_such_upload() -> NotFound:
    return NotFound(
        "The specified upload does not exist. The upload ID may be invalid, or the upload may have been aborted or "
        "completed.",
        code="NoSuchUpload",
    )


_UPSERT_PART = upsert(parts)
