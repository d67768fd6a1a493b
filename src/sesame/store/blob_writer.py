"""Takes bytes from the event loop to files: in batches, on threads of their own, with flat memory.

Used by `store.objects.objects` and `store.objects.multipart`; the door writes chunks into an `Upload` as they arrive.
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
        self._running: asyncio.Future[Written | None] | None = None
        self._finished = False
        self.size = 0

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._finished:
            return
        # A cancelled caller does not stop the thread that writes for it: its file must not be closed under it.
        if self._running is not None:
            await asyncio.wait({self._running})
        if self._draft is not None:
            await self._threads.run(self._draft.abandon)

    async def write(self, chunk: bytes) -> None:
        self._batch.append(chunk)
        self._batch_bytes += len(chunk)
        self.size += len(chunk)
        if self._batch_bytes >= BATCH_BYTES:
            await self._on_thread(self._take_batch(), last=False)

    async def finish(self) -> Written:
        """From here on the bytes survive a crash, and are nobody's until a row mentions them."""
        written = await self._on_thread(self._take_batch(), last=True)
        assert written is not None
        self._finished = True
        return written

    async def _on_thread(self, batch: list[bytes], *, last: bool) -> Written | None:
        def work() -> Written | None:
            if self._draft is None:
                self._draft = self._threads.blobs.draft()
            self._draft.write(batch)
            return self._draft.finish() if last else None

        self._running = asyncio.ensure_future(self._threads.run(work))
        return await asyncio.shield(self._running)

    def _take_batch(self) -> list[bytes]:
        batch, self._batch, self._batch_bytes = self._batch, [], 0
        return batch
