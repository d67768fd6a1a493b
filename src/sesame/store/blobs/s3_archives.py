"""The archives of code packages in a bucket, beside the blobs: `packages/<sha256>/`, in segments like blobs.

Created by `_storage` for `store.packages.packages`, which verifies archives by their name.
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
        """`announce` records that an archive may exist that no record names yet.

        `require_own` raises `PlatformError` if another process has taken over the database.
        """
        self._bucket = bucket
        self._announce = announce
        self._require_own = require_own
        self._gate = asyncio.Semaphore(SEGMENTS_AT_ONCE)

    async def has(self, sha256: str, size: int) -> bool:
        """Whether the whole archive exists."""
        found = await segments_in(self._bucket, folder_of_archive(sha256))
        return bool(found) and sum(each.size for each in found) == size

    async def put(self, sha256: str, archive: bytes) -> None:
        """On return the archive is durable."""
        await self._announce(sha256)
        view = memoryview(archive)
        folder, starts = folder_of_archive(sha256), range(0, len(archive), SEGMENT_BYTES)
        await asyncio.gather(
            *(self._put(segment_of(folder, n), view[at : at + SEGMENT_BYTES]) for n, at in enumerate(starts))
        )

    async def get(self, sha256: str) -> bytes:
        """Raises `FileNotFoundError` if there is no such archive."""
        found = await segments_in(self._bucket, folder_of_archive(sha256))
        if not found:
            raise FileNotFoundError(f"{self._bucket.shown} has no archive {sha256}")
        return b"".join(await asyncio.gather(*(self._get(each.path) for each in found)))

    async def delete(self, sha256: str) -> None:
        """Checks the database's lock first: if this process was paused and replaced, its successor may use the name."""
        paths = [each.path for each in await self._bucket.listing(folder_of_archive(sha256))]
        await self._require_own()
        await self._bucket.delete(paths)

    async def _put(self, path: str, segment: memoryview) -> None:
        async with self._gate:
            await self._bucket.put(path, bytes(segment))

    async def _get(self, path: str) -> bytes:
        async with self._gate:
            return (await self._bucket.get(path)).data
