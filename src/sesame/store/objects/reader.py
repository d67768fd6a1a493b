"""An open object, and the totals of a bucket.

Created by `store.objects.objects`, used by the OSS endpoint.
"""

import asyncio

import msgspec
from fastcrc import crc64

from sesame.model.errors import PlatformError
from sesame.model.object import ObjectKind, StoredObject
from sesame.store.blobs.interface import BlobReader


class Reader:
    """An open object. Later writes and deletions do not affect it. The caller must close it.

    `kind` is that of the object whose bytes these are, also where `stored` is a symlink to it.
    """

    def __init__(self, stored: StoredObject, blob: BlobReader, kind: ObjectKind | None = None) -> None:
        self.stored = stored
        self.blob = blob
        self.kind = kind or stored.kind

    def named_by(self, link: StoredObject) -> "Reader":
        """The same bytes, with what is said of `link`, the symlink that names this object; its size, its digests and
        its storage class stay, and the later time counts, as OSS documents it.
        """
        target = self.stored
        meta = msgspec.structs.replace(link.meta, storage_class=target.meta.storage_class, restore=target.meta.restore)
        modified_at = max(link.modified_at, target.modified_at)
        shown = msgspec.structs.replace(target, kind=link.kind, meta=meta, modified_at=modified_at)
        return Reader(shown, self.blob, kind=target.kind)

    async def prepare(self) -> None:
        """Call before the first `read`. If the bytes are gone, closes the object and raises `FileNotFoundError`."""
        try:
            await self.blob.prepare()
        except BaseException:
            self.close()
            raise

    def expect(self, start: int, length: int) -> None:
        """Announces that these bytes will be read in order."""
        self.blob.expect(start, length)

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
    """`by_storage_class`: number of objects and their bytes. `modified_at`: the latest, in Unix seconds; 0 if none."""

    objects: int
    size_bytes: int
    uploads: int
    parts: int
    modified_at: float
    by_storage_class: dict[str, tuple[int, int]]
