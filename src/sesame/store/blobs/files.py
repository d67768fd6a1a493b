"""The store of blobs in files: every call runs on one of a few threads, so that the event loop never waits for a disk.

Created by `_storage`. Implements `store.blobs.interface.BlobStore`.
"""

import asyncio
import os
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from io import FileIO
from pathlib import Path
from typing import ParamSpec, TypeVar

import fastcrc

from sesame.model.object import Written
from sesame.store.blobs.draft import COPY_BYTES, BlobFolder
from sesame.store.blobs.interface import Announce, BlobReader, ByteRange, Names, Swept
from sesame.store.blobs.upload import Upload
from sesame.store.quarantine import Quarantine

P = ParamSpec("P")
T = TypeVar("T")

# Most of these threads wait for the disk at any time.
FILE_THREADS = 16
# A blob up to this size is read when it is opened, which saves a switch to a thread and back.
PREFETCH_BYTES = 256 * 1024


class FileBlobs:
    """Belongs to one event loop. Nothing else uses `root`."""

    elsewhere = False

    def __init__(self, root: Path, quarantine: Quarantine | None = None) -> None:
        self.folder = BlobFolder(root, quarantine or Quarantine(root.parent / "quarantine"))
        self._threads = ThreadPoolExecutor(FILE_THREADS, thread_name_prefix="sesame-blobs")

    async def run(self, fn: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Runs `fn` on one of the threads."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, lambda: fn(*args, **kwargs))

    async def open(self, names: Names, announce: Announce) -> Swept:
        """Deletes only blobs that the database names as removed; quarantines those that it does not name."""
        await self.run(self.folder.open)
        return await self.run(self.folder.sweep, await names())

    def upload(self) -> Upload:
        return Upload(self.folder, self.run)

    def open_reader(self, blob: str, size: int) -> "FileReader":
        if not blob:
            return FileReader(None, b"", 0, self.run)
        file = FileIO(self.folder.path(blob))
        if size > PREFETCH_BYTES:
            return FileReader(file, None, size, self.run)
        with file:
            return FileReader(None, os.pread(file.fileno(), size, 0), size, self.run)

    async def compose(self, ranges: Sequence[ByteRange]) -> Written:
        def join() -> Written:
            with self.folder.draft() as draft:
                for each in ranges:
                    with self.folder.path(each.blob).open("rb") as source:
                        draft.copy(source.fileno(), each.start, each.length)
                return draft.finish()

        return await self.run(join)

    async def copy(self, source: BlobReader, start: int, length: int) -> Written:
        assert isinstance(source, FileReader), "a reader of this store"

        def copy() -> Written:
            with self.folder.draft() as draft:
                if source.whole is not None:
                    draft.write((source.whole[start : start + length],))
                else:
                    draft.copy(source.fileno(), start, length)
                return draft.finish()

        return await self.run(copy)

    async def extend(self, blob: str, size: int, crc64: int, addition: Written) -> int:
        def grow() -> int:
            sum_so_far = crc64
            with self.folder.path(addition.blob).open("rb") as source, self.folder.growing(blob, size) as target:
                while chunk := source.read(COPY_BYTES):
                    target.write(chunk)
                    sum_so_far = fastcrc.crc64.xz(chunk, sum_so_far)
            return sum_so_far

        return await self.run(grow)

    async def delete(self, blobs: Collection[str]) -> Collection[str]:
        """Deletes all of them at once: readers that have a file open can continue."""

        def delete_all() -> None:
            for blob in blobs:
                self.folder.remove(blob)

        if blobs:
            await self.run(delete_all)
        return ()

    def claim(self, blob: str) -> None:
        self.folder.claim(blob)

    def unclaimed(self, age_s: float) -> Collection[str]:
        return self.folder.unclaimed(age_s)

    async def collect(self, age_s: float) -> int:
        return await self.run(self.folder.remove_drafts, age_s)

    async def close(self) -> None:
        await asyncio.to_thread(self._threads.shutdown)


class FileReader:
    """Holds the file open, or the bytes of a small blob (`whole`)."""

    def __init__(self, file: FileIO | None, whole: bytes | None, size: int, run: Callable[..., object]) -> None:
        self._file = file
        self.whole = whole
        self._size = size
        self._run = run

    def fileno(self) -> int:
        assert self._file is not None
        return self._file.fileno()

    async def prepare(self) -> None:
        """Does nothing, because the file is already open."""

    def expect(self, start: int, length: int) -> None:
        """Does nothing, because the kernel reads ahead by itself."""

    async def read(self, start: int, length: int) -> bytes:
        if self.whole is not None:
            return self.whole[start : start + length]
        return await self._run(os.pread, self.fileno(), min(length, self._size - start), start)  # type: ignore[misc, no-any-return]

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
