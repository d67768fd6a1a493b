"""The store of blobs in a bucket of an S3-compatible store: no bytes of an object exist only on this machine.

Created by `_storage`. Implements `store.blobs.interface.BlobStore`. A segment is stored completely or not at all, under
a name that no other blob ever had; only appending replaces a blob's last segment by a longer one.
"""

import asyncio
import threading
from collections import Counter
from collections.abc import Collection, Coroutine, Sequence
from contextlib import closing, suppress
from functools import partial
from typing import Any

import fastcrc

from sesame.model.errors import StoreUnavailable
from sesame.model.object import Written
from sesame.store.blobs.bucket import Bucket, ConditionsUnknown, Conflict
from sesame.store.blobs.interface import Announce, BlobReader, ByteRange, Names, Swept
from sesame.store.blobs.s3_reader import S3Reader
from sesame.store.blobs.s3_upload import S3Upload
from sesame.store.blobs.segments import SEGMENT_BYTES, folder_of, path_of
from sesame.store.blobs.sums import summed

# POLICY: at most this many bodies over a megabyte are uploaded at a time, each with at most three segments in memory.
LONG_UPLOADS_MAX = 32
# Copying from blob to blob reads fast, so more segments of it are uploaded at a time.
COPIED_SEGMENTS_AT_ONCE = 3
# POLICY: at most this many delete requests run at a time.
DELETIONS_AT_ONCE = 8
# How long a stop waits for abandoned uploads.
STOP_PATIENCE_S = 10.0


class S3Blobs:
    """Belongs to one event loop, except `open_reader`. Nothing else uses the objects below the bucket's prefix."""

    elsewhere = True

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket
        self._places = asyncio.Semaphore(LONG_UPLOADS_MAX)
        self._deletions = asyncio.Semaphore(DELETIONS_AT_ONCE)
        self._announce: Announce | None = None
        # The number of readers of each blob, and the blobs being deleted: never both for one blob.
        # Reentrant, because collecting a garbage reader may happen in a thread that holds the lock.
        self._lock = threading.RLock()
        self._readers: Counter[str] = Counter()
        self._deleting: set[str] = set()
        # Blobs of abandoned uploads, whose last segments may still be in transfer.
        self._abandoned: dict[str, asyncio.Task[None]] = {}

    async def open(self, names: Names, announce: Announce) -> Swept:
        self._announce = announce
        return Swept()

    async def close(self) -> None:
        if self._abandoned:
            _done, late = await asyncio.wait(self._abandoned.values(), timeout=STOP_PATIENCE_S)
            for task in late:
                # Its announcement makes a later start delete the blob.
                task.cancel()

    async def settled(self) -> None:
        """Returns when no abandoned upload is still being deleted."""
        while self._abandoned:
            await asyncio.wait(self._abandoned.values())

    def upload(self) -> S3Upload:
        return self._upload()

    def open_reader(self, blob: str, size: int) -> S3Reader:
        """Does not block: the reader's `prepare` accesses the store."""
        if blob:
            with self._lock:
                if blob in self._deleting:
                    raise FileNotFoundError(f"blob {blob} is being deleted")
                self._readers[blob] += 1
        return S3Reader(self._bucket, blob, size, self._closed)

    async def compose(self, ranges: Sequence[ByteRange]) -> Written:
        async with self._upload(COPIED_SEGMENTS_AT_ONCE) as upload:
            for each in ranges:
                with closing(self.open_reader(each.blob, each.start + each.length)) as source:
                    await source.prepare()
                    await _copy(source, each.start, each.length, upload)
            return await upload.finish()

    async def copy(self, source: BlobReader, start: int, length: int) -> Written:
        async with self._upload(COPIED_SEGMENTS_AT_ONCE) as upload:
            await _copy(source, start, length, upload)
            return await upload.finish()

    async def extend(self, blob: str, size: int, crc64: int, addition: Written) -> int:
        """Replaces the last segment by a longer one, and stores further segments after it."""
        number, kept = divmod(size, SEGMENT_BYTES)
        with closing(self.open_reader(blob, size)), closing(self.open_reader(addition.blob, addition.size)) as source:
            if kept:
                last = await self._bucket.get(path_of(blob, number), 0, kept)
                data, tag = last.data, last.tag or None
            else:
                await self._bucket.head(path_of(blob, 0))
                data, tag = b"", None
            await source.prepare()
            source.expect(0, addition.size)
            position = 0
            while position < addition.size:
                piece = await source.read(position, SEGMENT_BYTES - len(data))
                if not piece:
                    raise EOFError(f"the addition ended {addition.size - position} bytes early")
                crc64 = await summed(partial(_crc64_of, crc64), piece)
                await self._put_last(blob, number, data + piece, tag)
                position += len(piece)
                number, data, tag = number + 1, b"", None
        return crc64

    async def delete(self, blobs: Collection[str]) -> Collection[str]:
        with self._lock:
            # A segment that is still in transfer may arrive after its deletion.
            left = [blob for blob in blobs if self._readers[blob] > 0 or blob in self._abandoned]
            wanted = set(blobs) - set(left)
            self._deleting |= wanted
        try:
            outcomes = await asyncio.gather(*map(self._delete, wanted), return_exceptions=True)
        finally:
            with self._lock:
                self._deleting -= wanted
        for failed in outcomes:
            if isinstance(failed, BaseException):
                raise failed
        return left

    def claim(self, blob: str) -> None:
        """Does nothing: the row's commit removed the announcement."""

    def unclaimed(self, age_s: float) -> Collection[str]:
        """Empty, because announcements record these blobs."""
        return ()

    async def collect(self, age_s: float) -> int:
        """Does nothing, because announcements record leftovers."""
        return 0

    def _upload(self, puts_at_once: int = 1) -> S3Upload:
        assert self._announce is not None, "opened before"
        return S3Upload(self._bucket, self._announce, self._places, self._delete_afterwards, puts_at_once)

    async def _delete(self, blob: str) -> None:
        async with self._deletions:
            await self._bucket.delete([found.path for found in await self._bucket.listing(folder_of(blob))])

    async def _put_last(self, blob: str, number: int, data: bytes, tag: str | None) -> None:
        """Stores a segment if it is unchanged since the read: a late write of a killed process must not replace it."""
        path = path_of(blob, number)
        try:
            try:
                await self._bucket.put_if(path, data, tag)
            except Conflict:
                if tag is not None:
                    raise
                # Left by an append whose row was not committed.
                await self._bucket.put_if(path, data, (await self._bucket.head(path)).tag)
        except Conflict as error:
            raise StoreUnavailable(f"{self._bucket.shown}: {path} was changed meanwhile by another process") from error
        except ConditionsUnknown:
            await self._bucket.put(path, data)

    def _delete_afterwards(self, blob: str, ended: Coroutine[Any, Any, None]) -> None:
        async def delete() -> None:
            await ended
            # If this fails, the announcement causes the deletion.
            with suppress(OSError, StoreUnavailable):
                await self._delete(blob)

        task = self._abandoned[blob] = asyncio.create_task(delete())
        task.add_done_callback(lambda _task: self._abandoned.pop(blob))

    def _closed(self, blob: str) -> None:
        with self._lock:
            if self._readers[blob] > 1:
                self._readers[blob] -= 1
            else:
                del self._readers[blob]


def _crc64_of(so_far: int, data: bytes) -> int:
    return fastcrc.crc64.xz(data, so_far)


async def _copy(source: BlobReader, start: int, length: int, upload: S3Upload) -> None:
    """Raises `EOFError` if the source ends early."""
    source.expect(start, length)
    while length:
        chunk = await source.read(start, min(length, SEGMENT_BYTES))
        if not chunk:
            raise EOFError(f"the source ended {length} bytes early")
        await upload.write(chunk)
        start += len(chunk)
        length -= len(chunk)
