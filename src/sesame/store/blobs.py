"""Bytes on files: written aside, checked on the way, made durable, and only then given a name.

Called by `store.objects.objects` and `store.objects.multipart`, always on their threads. A blob never changes under
a reader:
overwriting an object writes another blob. Never knows what an object is called.
"""

import hashlib
import os
import uuid
from collections.abc import Container, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

import fastcrc
import msgspec

from sesame.store.durable import make_folder, sync_folder

COPY_BYTES = 1024 * 1024
_SHARDS = 256


class Written(msgspec.Struct, frozen=True):
    """A durable blob that no row mentions yet. `md5` is 32 upper-case hex digits, `crc64` CRC-64/XZ."""

    blob: str
    size: int
    md5: str
    crc64: int


class Blobs:
    """Everything here blocks. `root` holds `drafts/` (nothing there counts) and `data/00` … `data/ff`."""

    def __init__(self, root: Path) -> None:
        self._drafts = root / "drafts"
        self._data = root / "data"

    def open(self) -> None:
        """Makes the folders and removes drafts: whoever wrote them is gone."""
        make_folder(self._drafts)
        make_folder(self._data)
        # Whatever the folder above lets others see: objects are their owners'.
        self._data.parent.chmod(0o700)
        for number in range(_SHARDS):
            (self._data / f"{number:02x}").mkdir(exist_ok=True)
        sync_folder(self._data)
        for draft in self._drafts.iterdir():
            draft.unlink()

    def draft(self) -> "Draft":
        return Draft(self, self._drafts / uuid.uuid4().hex)

    def path(self, blob: str) -> Path:
        return self._data / blob[:2] / blob

    def remove(self, blob: str) -> None:
        """Readers that have it open go on reading. Nobody minds if it is gone already."""
        with suppress(FileNotFoundError):
            self.path(blob).unlink()

    def sweep(self, known: Container[str]) -> int:
        """Removes what no row mentions: left by a crash between the file and its row, or the row and its file."""
        removed = 0
        for shard in self._data.iterdir():
            for path in shard.iterdir():
                if path.name not in known:
                    path.unlink()
                    removed += 1
        return removed

    @contextmanager
    def growing(self, blob: str, size: int) -> Iterator[BinaryIO]:
        """Writes behind the first `size` bytes, durable when left; what an unacknowledged append left there goes."""
        with self.path(blob).open("r+b") as file:
            file.truncate(size)
            file.seek(size)
            yield file
            file.flush()
            os.fsync(file.fileno())


class Draft:
    """One blob on its way. Used by one thread at a time; ends in `finish` or in `abandon`, as a context by itself."""

    def __init__(self, blobs: Blobs, path: Path) -> None:
        self._blobs = blobs
        self._path = path
        self._file = path.open("xb", buffering=0)
        self._md5 = hashlib.md5(usedforsecurity=False)
        self._crc64 = 0
        self._size = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        if kind is not None:
            self.abandon()

    def write(self, chunks: Sequence[bytes]) -> None:
        for chunk in chunks:
            view = memoryview(chunk)
            while view:
                view = view[self._file.write(view) or 0 :]
            self._md5.update(chunk)
            self._crc64 = fastcrc.crc64.xz(chunk, self._crc64)
            self._size += len(chunk)

    def copy(self, source: int, start: int, length: int) -> None:
        """From an open file's descriptor. Raises EOFError when it is shorter than was said."""
        while length:
            chunk = os.pread(source, min(length, COPY_BYTES), start)
            if not chunk:
                raise EOFError(f"the source ended {length} bytes early")
            self.write((chunk,))
            start += len(chunk)
            length -= len(chunk)

    def finish(self) -> Written:
        """From its return on, the bytes survive a loss of power."""
        os.fsync(self._file.fileno())
        self._file.close()
        blob = self._path.name
        path = self._blobs.path(blob)
        self._path.rename(path)
        sync_folder(path.parent)
        return Written(blob=blob, size=self._size, md5=self._md5.hexdigest().upper(), crc64=self._crc64)

    def abandon(self) -> None:
        """Also after `finish`, as long as no row mentions the blob."""
        self._file.close()
        with suppress(FileNotFoundError):
            self._path.unlink()
        self._blobs.remove(self._path.name)
