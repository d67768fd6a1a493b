"""The archives of code packages in a bucket, beside the blobs: `packages/<sha256>/`, in segments as blobs are.

Made by `_storage` for `store.packages.packages`, which checks what it gets by its name.
"""

import asyncio
from collections.abc import Awaitable, Callable

from sesame.store.blobs.bucket import Bucket
from sesame.store.blobs.segments import SEGMENT_BYTES, folder_of_archive, segment_of, segments_in

SEGMENTS_AT_ONCE = 4


class S3Archives:
    def __init__(
        self, bucket: Bucket, announce: Callable[[str], Awaitable[None]], require_own: Callable[[], Awaitable[None]]
    ) -> None:
        """`announce` remembers that an archive may be there that no record names yet.

        `require_own` raises `PlatformError` where the database belongs to another process by now.
        """
        self._bucket = bucket
        self._announce = announce
        self._require_own = require_own
        self._gate = asyncio.Semaphore(SEGMENTS_AT_ONCE)

    async def has(self, sha256: str, size: int) -> bool:
        """Whether all of it is there."""
        found = await segments_in(self._bucket, folder_of_archive(sha256))
        return bool(found) and sum(each.size for each in found) == size

    async def put(self, sha256: str, archive: bytes) -> None:
        """On return it is durable."""
        await self._announce(sha256)
        view = memoryview(archive)
        folder, starts = folder_of_archive(sha256), range(0, len(archive), SEGMENT_BYTES)
        await asyncio.gather(
            *(self._put(segment_of(folder, n), view[at : at + SEGMENT_BYTES]) for n, at in enumerate(starts))
        )

    async def get(self, sha256: str) -> bytes:
        """Raises `FileNotFoundError` where there is nothing of it."""
        found = await segments_in(self._bucket, folder_of_archive(sha256))
        if not found:
            raise FileNotFoundError(f"{self._bucket.shown} has no archive {sha256}")
        return b"".join(await asyncio.gather(*(self._get(each.path) for each in found)))

    async def delete(self, sha256: str) -> None:
        """Of a name that may be put again: by another process too, if this one stood still and was replaced."""
        paths = [each.path for each in await self._bucket.listing(folder_of_archive(sha256))]
        await self._require_own()
        await self._bucket.delete(paths)

    async def _put(self, path: str, segment: memoryview) -> None:
        async with self._gate:
            await self._bucket.put(path, bytes(segment))

    async def _get(self, path: str) -> bytes:
        async with self._gate:
            return (await self._bucket.get(path)).data
