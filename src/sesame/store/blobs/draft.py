"""Blobs in a folder, used on threads: written as drafts, summed meanwhile, synced, and only then renamed.

Called by `store.blobs.files` and `store.blobs.upload` on their threads. Every method blocks.
"""

import errno
import os
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

from sesame.model.object import Written
from sesame.store.blobs.interface import BlobNames, Swept
from sesame.store.blobs.sums import Sums
from sesame.store.durable import make_folder, sync_folder
from sesame.store.quarantine import BLOBS, STRAYS, Quarantine

COPY_BYTES = 1024 * 1024
_SHARDS = frozenset(f"{number:02x}" for number in range(256))


class BlobFolder:
    """`root` contains `drafts/` (incomplete blobs) and `data/00` … `data/ff`, each with the blobs of that prefix.

    Each of these folders is created when its first blob needs it.
    """

    def __init__(self, root: Path, quarantine: Quarantine) -> None:
        self._drafts = root / "drafts"
        self._data = root / "data"
        self._quarantine = quarantine
        # When each finished blob without a known row was finished (Unix seconds), for blobs of this process.
        self._unclaimed: dict[str, float] = {}

    def open(self) -> None:
        """Empties `drafts`, because the process that wrote there has ended.

        Raises `FileExistsError` if a file has the name of a folder.
        """
        make_folder(self._drafts)
        make_folder(self._data)
        # Whatever the parent folder allows, only the owner may read objects.
        self._data.parent.chmod(0o700)
        for path in self._data.iterdir():
            if path.name in _SHARDS and not path.is_dir():
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path))
        for draft in self._drafts.iterdir():
            if draft.is_file() and not draft.is_symlink():
                draft.unlink()
            else:
                # Not written by Sesame.
                self._quarantine.set_aside(draft, STRAYS)

    def draft(self) -> "Draft":
        path = self._drafts / uuid.uuid4().hex
        try:
            return Draft(self, path)
        except FileNotFoundError:
            # The folder was removed while Sesame runs. A missing `root` is not created again, because its mode matters.
            self._drafts.mkdir(exist_ok=True)
            return Draft(self, path)

    def path(self, blob: str) -> Path:
        return self._data / blob[:2] / blob

    def remove(self, blob: str) -> None:
        """Removes a blob if it exists. Readers that have it open can continue."""
        self.claim(blob)
        with suppress(FileNotFoundError):
            self.path(blob).unlink()

    def claim(self, blob: str) -> None:
        """Notes that a row mentions the blob, or that it is deleted."""
        self._unclaimed.pop(blob, None)

    def finished(self, blob: str) -> None:
        """Notes that the blob is durable and waits for its row."""
        self._unclaimed[blob] = time.time()

    def unclaimed(self, age_s: float) -> list[str]:
        """Blobs of this process that were finished at least `age_s` ago and have no row: their writer was cancelled."""
        before = time.time() - age_s
        return [blob for blob, at in list(self._unclaimed.items()) if at <= before]

    def sweep(self, names: BlobNames) -> Swept:
        """Compares the files with the database's names.

        A file that the database does not name is quarantined: a damaged or older database may have lost its row.
        """
        deleted = aside = 0
        present = set()
        for path in self._files():
            is_blob = path == self.path(path.name) and path.is_file()
            if is_blob and path.name in names.known:
                present.add(path.name)
            elif is_blob and path.name in names.removed:
                path.unlink()
                deleted += 1
            else:
                aside += self._quarantine.set_aside(path, BLOBS if is_blob else STRAYS)
        missing = names.known - present
        back = {blob for blob in missing if self._quarantine.bring_back(BLOBS, blob, self.path(blob))}
        return Swept(removed=deleted, set_aside=aside, brought_back=len(back), missing=len(missing - back))

    def _files(self) -> Iterator[Path]:
        """Every file in the folders of blobs, including foreign ones."""
        for shard in self._data.iterdir():
            if shard.is_dir() and not shard.is_symlink():
                yield from shard.iterdir()
            else:
                yield shard

    def remove_drafts(self, age_s: float) -> int:
        """Removes drafts that have not grown for `age_s`, because their upload was abandoned. Returns their number."""
        before, removed = time.time() - age_s, 0
        for draft in self._drafts.iterdir():
            with suppress(FileNotFoundError):
                if draft.stat().st_mtime < before:
                    draft.unlink()
                    removed += 1
        return removed

    @contextmanager
    def growing(self, blob: str, size: int) -> Iterator[BinaryIO]:
        """Opens the blob for writing after its first `size` bytes; truncates what follows, and syncs at the end."""
        with self.path(blob).open("r+b") as file:
            file.truncate(size)
            file.seek(size)
            yield file
            file.flush()
            os.fsync(file.fileno())


class Draft:
    """One incomplete blob. Used by one thread at a time; ends with `finish` or `abandon`, or as a context manager."""

    def __init__(self, folder: BlobFolder, path: Path) -> None:
        self._folder = folder
        self._path = path
        self._file = path.open("xb", buffering=0)
        self._sums = Sums()

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
            self._sums.add(chunk)

    def copy(self, source: int, start: int, length: int) -> None:
        """Copies from an open file's descriptor. Raises `EOFError` if the file ends early."""
        while length:
            chunk = os.pread(source, min(length, COPY_BYTES), start)
            if not chunk:
                raise EOFError(f"the source ended {length} bytes early")
            self.write((chunk,))
            start += len(chunk)
            length -= len(chunk)

    def finish(self) -> Written:
        """On return the bytes survive a power cut."""
        os.fsync(self._file.fileno())
        self._file.close()
        blob = self._path.name
        path = self._folder.path(blob)
        try:
            self._path.rename(path)
        except FileNotFoundError:
            # It is the folder's first blob, or the folder was removed. Fails again if the draft itself is gone.
            path.parent.mkdir(exist_ok=True)
            sync_folder(path.parent.parent)
            self._path.rename(path)
        sync_folder(path.parent)
        self._folder.finished(blob)
        return self._sums.written(blob)

    def abandon(self) -> None:
        """Removes the blob, also after `finish`, as long as no row mentions it."""
        self._file.close()
        with suppress(FileNotFoundError):
            self._path.unlink()
        self._folder.remove(self._path.name)
