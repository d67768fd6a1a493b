"""Takes bytes from the event loop to files: in batches, on threads of their own, with flat memory.

Used by `store.objects` and `store.uploads`; the door writes chunks into an `Upload` as they arrive.
Never blocks the loop, and never holds more of a body than one batch.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import ParamSpec, Self, TypeVar

from sesame.store.blobs import Blobs, Draft, Written

P = ParamSpec("P")
T = TypeVar("T")

BATCH_BYTES = 1024 * 1024
# Most of them wait for the disk at any time.
FILE_THREADS = 16


class BlobThreads:
    """Blobs as seen from the loop: every call runs on one of a few threads."""

    def __init__(self, root: Path) -> None:
        self.blobs = Blobs(root)
        self._threads = ThreadPoolExecutor(FILE_THREADS, thread_name_prefix="sesame-blobs")

    async def run(self, fn: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, lambda: fn(*args, **kwargs))

    async def remove(self, *blobs: str) -> None:
        def remove_all() -> None:
            for blob in blobs:
                self.blobs.remove(blob)

        await self.run(remove_all)

    def close(self) -> None:
        """Waits for what runs."""
        self._threads.shutdown()


class Upload:
    """One body on its way in: `async with`, `write` as often as needed, then `finish`; without it nothing stays."""

    def __init__(self, threads: BlobThreads) -> None:
        self._threads = threads
        self._batch: list[bytes] = []
        self._batch_bytes = 0
        self._draft: Draft | None = None
        self._finished = False
        self.size = 0

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._draft is not None and not self._finished:
            await self._threads.run(self._draft.abandon)

    async def write(self, chunk: bytes) -> None:
        self._batch.append(chunk)
        self._batch_bytes += len(chunk)
        self.size += len(chunk)
        if self._batch_bytes >= BATCH_BYTES:
            batch = self._take_batch()
            await self._threads.run(lambda: self._open().write(batch))

    async def finish(self) -> Written:
        """From here on the bytes survive a crash, and are nobody's until a row mentions them."""
        batch = self._take_batch()

        def write_and_finish() -> Written:
            draft = self._open()
            draft.write(batch)
            return draft.finish()

        written = await self._threads.run(write_and_finish)
        self._finished = True
        return written

    def _open(self) -> Draft:
        if self._draft is None:
            self._draft = self._threads.blobs.draft()
        return self._draft

    def _take_batch(self) -> list[bytes]:
        batch, self._batch, self._batch_bytes = self._batch, [], 0
        return batch
