"""An open blob of a bucket: small ones are held in memory; of others only the requested ranges are fetched.

Created by `store.blobs.s3`. While a reader is open, this process does not delete the blob.
"""

import asyncio
from collections.abc import Callable

from sesame.store.blobs.bucket import Bucket
from sesame.store.blobs.segments import fetch, path_of

# A blob up to this size is fetched when it is opened.
PREFETCH_BYTES = 256 * 1024
# A longer blob that is read in order is fetched in pieces of this size, one of them ahead.
AHEAD_BYTES = 1024 * 1024


class S3Reader:
    """Belongs to the event loop, but may be created on another thread. Close it."""

    def __init__(self, bucket: Bucket, blob: str, size: int, on_close: Callable[[str], None]) -> None:
        self._bucket = bucket
        self._blob = blob
        self._size = size
        self._on_close: Callable[[str], None] | None = on_close
        self._whole: bytes | None = None if blob and size else b""
        self._expected_end = 0
        self._window, self._window_start = b"", 0
        self._next: asyncio.Task[bytes] | None = None
        self._next_start = 0

    async def prepare(self) -> None:
        if not self._blob:
            return
        if 0 < self._size <= PREFETCH_BYTES:
            self._whole = await fetch(self._bucket, self._blob, 0, self._size)
        else:
            await self._bucket.head(path_of(self._blob, 0))

    def expect(self, start: int, length: int) -> None:
        self._expected_end = min(start + length, self._size)

    async def read(self, start: int, length: int) -> bytes:
        if self._whole is not None:
            return self._whole[start : start + length]
        end = min(start + length, self._size)
        if end > self._expected_end:
            return await fetch(self._bucket, self._blob, start, end - start)
        found = b""
        while start < end:
            piece = await self._ahead(start)
            if not piece:
                break
            found += piece[: end - start]
            start += min(len(piece), end - start)
        return found

    def close(self) -> None:
        on_close, self._on_close = self._on_close, None
        if on_close is None:
            return
        if self._next is not None:
            self._next.cancel()
        on_close(self._blob)

    def __del__(self) -> None:
        # Needed if opening was cancelled after a thread had created the reader.
        if self._on_close is not None:
            self._on_close(self._blob)

    async def _ahead(self, start: int) -> bytes:
        """The window's bytes from `start` on; fetches the next window first if there are none, and the one after it."""
        if not self._window_start <= start < self._window_start + len(self._window):
            if self._next is None or self._next_start != start:
                self._fetch_next(start)
            assert self._next is not None
            # Not shielded: only this caller uses the reader, and closes it when cancelled.
            self._window, self._window_start = await self._next, start
            self._next = None
            self._fetch_next(start + len(self._window))
        return self._window[start - self._window_start :]

    def _fetch_next(self, start: int) -> None:
        if self._next is not None:
            self._next.cancel()
            self._next = None
        if start < self._expected_end:
            length = min(AHEAD_BYTES, self._expected_end - start)
            self._next = asyncio.create_task(fetch(self._bucket, self._blob, start, length))
            self._next.add_done_callback(_seen)
            self._next_start = start


def _seen(task: "asyncio.Task[bytes]") -> None:
    """Ignores an error of a fetch ahead; it matters only if the caller reads that far."""
    if not task.cancelled():
        task.exception()
