"""Uploads one body from the event loop to a bucket, a segment at a time, with limited memory.

Created by `store.blobs.s3`. Nothing names the blob before its last segment is durable.
"""

import asyncio
import io
import uuid
from collections.abc import Callable, Coroutine
from types import TracebackType
from typing import Any, Self

from sesame.model.errors import StoreUnavailable
from sesame.model.object import Written
from sesame.store.blobs.bucket import Bucket
from sesame.store.blobs.interface import Announce
from sesame.store.blobs.segments import SEGMENT_BYTES, path_of
from sesame.store.blobs.sums import Sums, summed

# A body longer than this needs one of the places for long bodies, which limits their memory.
SHORT_BYTES_MAX = 1024 * 1024
# How long a body waits for such a place.
PLACE_PATIENCE_S = 20.0


class S3Upload:
    """`async with`, `write` as often as needed, then `finish`. Without it, stored segments are deleted afterwards."""

    def __init__(
        self,
        bucket: Bucket,
        announce: Announce,
        places: asyncio.Semaphore,
        abandon: Callable[[str, Coroutine[Any, Any, None]], None],
        puts_at_once: int = 1,
    ) -> None:
        """`abandon` runs a coroutine in the background, and then deletes the blob of this name.

        Each concurrent put keeps one more segment in memory, twice.
        """
        self._bucket = bucket
        self._announce = announce
        self._places = places
        self._abandon = abandon
        self._puts_at_once = puts_at_once
        self._blob = uuid.uuid4().hex
        # Not a list of pieces: for a body that arrives a few bytes at a time, they need many times the memory.
        self._segment = io.BytesIO()
        self._number = 0
        self._sums = Sums()
        self._announced: asyncio.Task[None] | None = None
        self._putting: set[asyncio.Task[None]] = set()
        self._has_place = False
        self._finished = False
        self.size = 0

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._has_place:
            self._places.release()
        if not self._finished and self._announced is not None:
            self._abandon(self._blob, self._ended())

    async def write(self, chunk: bytes) -> None:
        self._begin()
        self.size += len(chunk)
        if self.size > SHORT_BYTES_MAX and not self._has_place:
            await self._take_place()
        rest = memoryview(chunk)
        while rest:
            taken = self._segment.write(rest[: SEGMENT_BYTES - self._segment.tell()])
            rest = rest[taken:]
            if self._segment.tell() == SEGMENT_BYTES:
                await self._put_segment()

    async def finish(self) -> Written:
        """On return the bytes survive a crash; no row mentions them yet."""
        self._begin()
        if self._segment.tell() or not self._number:
            await self._put_segment()
        await self._durable(at_most=0)
        self._finished = True
        return self._sums.written(self._blob)

    def _begin(self) -> None:
        """Starts writing the announcement while the first bytes arrive."""
        if self._announced is None:
            self._announced = asyncio.ensure_future(self._announce(self._blob))

    async def _take_place(self) -> None:
        try:
            async with asyncio.timeout(PLACE_PATIENCE_S):
                await self._places.acquire()
        except TimeoutError as error:
            raise StoreUnavailable(
                f"{self._bucket.shown}: too many large bodies are on their way to it; one more waited "
                f"{PLACE_PATIENCE_S:g} s for its turn"
            ) from error
        self._has_place = True

    async def _put_segment(self) -> None:
        """Starts uploading the collected bytes, once few enough uploads are running."""
        data, self._segment = self._segment.getvalue(), io.BytesIO()
        await summed(self._sums.add, data)
        await self._durable(at_most=self._puts_at_once - 1)
        assert self._announced is not None
        await asyncio.shield(self._announced)
        self._putting.add(asyncio.create_task(self._bucket.put(path_of(self._blob, self._number), data)))
        self._number += 1

    async def _durable(self, at_most: int) -> None:
        """Returns when at most `at_most` segments are being uploaded; raises the error of one that failed."""
        while len(self._putting) > at_most:
            done, _running = await asyncio.wait(self._putting, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
            self._putting -= done

    async def _ended(self) -> None:
        """Waits for uploads that a cancelled caller does not stop: a segment must not arrive after its deletion."""
        assert self._announced is not None
        done, _none = await asyncio.wait({self._announced, *self._putting})
        for task in done:
            if not task.cancelled():
                # Retrieves the error, which the caller got before, unless it is gone.
                task.exception()
