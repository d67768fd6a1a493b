"""Writes one body from the event loop to a file: in batches, on a thread, with constant memory.

Created by `store.blobs.files`; the OSS endpoint writes chunks into it as they arrive.
"""

import asyncio
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Protocol, Self, TypeVar

from sesame.model.object import Written
from sesame.store.blobs.draft import BlobFolder, Draft

T = TypeVar("T")

BATCH_BYTES = 1024 * 1024


class Threads(Protocol):
    def __call__(self, fn: Callable[[], T], /) -> Awaitable[T]: ...


class Upload:
    """`async with`, `write` as often as needed, then `finish`; without it nothing stays. Holds at most one batch."""

    def __init__(self, folder: BlobFolder, run: Threads) -> None:
        self._folder = folder
        self._run = run
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
        # Cancelling the caller does not stop its thread, whose file must not be closed meanwhile.
        if self._running is not None:
            await asyncio.wait({self._running})
        if self._draft is not None:
            await self._run(self._draft.abandon)

    async def write(self, chunk: bytes) -> None:
        self._batch.append(chunk)
        self._batch_bytes += len(chunk)
        self.size += len(chunk)
        if self._batch_bytes >= BATCH_BYTES:
            await self._on_thread(self._take_batch(), last=False)

    async def finish(self) -> Written:
        """On return the bytes survive a crash; no row mentions them yet."""
        written = await self._on_thread(self._take_batch(), last=True)
        assert written is not None
        self._finished = True
        return written

    async def _on_thread(self, batch: list[bytes], *, last: bool) -> Written | None:
        def work() -> Written | None:
            if self._draft is None:
                self._draft = self._folder.draft()
            self._draft.write(batch)
            return self._draft.finish() if last else None

        self._running = asyncio.ensure_future(self._run(work))
        return await asyncio.shield(self._running)

    def _take_batch(self) -> list[bytes]:
        batch, self._batch, self._batch_bytes = self._batch, [], 0
        return batch
