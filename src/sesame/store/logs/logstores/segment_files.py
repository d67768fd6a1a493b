"""The files of sealed segments: `logstores/<logstore>/<first>-<end>.parquet` below the data directory.

Only this module knows where segments are stored, so that they could be moved to an object store. Everything here
blocks.
"""

import os
import zlib
from collections.abc import Collection
from pathlib import Path

from sesame.store.durable import make_folder, sync_file, sync_folder

_PART = ".part"
# The first and last bytes of a Parquet file.
_MAGIC = b"PAR1"
_READ_BYTES = 1024 * 1024
# How many files that were found intact are remembered; beyond that, all are forgotten and read again when needed.
INTACT_MAX = 10_000


class SegmentFiles:
    def __init__(self, root: Path) -> None:
        self.root = root
        # Unknown files found by the last sweep.
        self._strays: set[Path] = set()
        # Files whose checksums matched, with their status at that time.
        self._intact: dict[Path, tuple[int, ...]] = {}

    def open(self) -> None:
        make_folder(self.root)

    def path(self, logstore: int, first: int, end: int) -> Path:
        return self.root / str(logstore) / f"{first}-{end}.parquet"

    def size(self, logstore: int, first: int, end: int) -> int:
        """Bytes; 0 if the file is missing."""
        try:
            return self.path(logstore, first, end).stat().st_size
        except FileNotFoundError:
            return 0

    def is_whole(self, logstore: int, first: int, end: int) -> bool:
        """Whether the file exists and is not truncated."""
        try:
            with self.path(logstore, first, end).open("rb") as file:
                if file.seek(0, os.SEEK_END) < 2 * len(_MAGIC):
                    return False
                file.seek(-len(_MAGIC), os.SEEK_END)
                return file.read() == _MAGIC
        except FileNotFoundError:
            return False

    def is_intact(self, logstore: int, first: int, end: int, checksum: int | None) -> bool:
        """Whether the file is complete and has this checksum. It is read once, and again after a change."""
        if not self.is_whole(logstore, first, end):
            return False
        path = self.path(logstore, first, end)
        found = path.stat()
        state = (found.st_ino, found.st_size, found.st_mtime_ns)
        if checksum is None or self._intact.get(path) == state:
            return True
        if checksum_of(path) != checksum:
            return False
        if len(self._intact) >= INTACT_MAX:
            self._intact.clear()
        self._intact[path] = state
        return True

    def draft(self, logstore: int, first: int, end: int) -> Path:
        """Where to write a segment before `publish` renames it. The folder exists."""
        path = self.path(logstore, first, end)
        make_folder(path.parent)
        return path.with_name(path.name + _PART)

    def publish(self, logstore: int, first: int, end: int) -> None:
        """Makes the segment visible; it is complete and survives a power cut."""
        draft, path = self.draft(logstore, first, end), self.path(logstore, first, end)
        sync_file(draft)
        draft.rename(path)
        sync_folder(path.parent)

    def sweep(self, known: Collection[Path]) -> None:
        """Deletes files that are neither `known` now nor were at the last sweep: no query reads them any more."""
        strays = {path for path in self.root.glob("*/*") if path not in known}
        for path in strays & self._strays:
            path.unlink(missing_ok=True)
        self._strays = strays - self._strays
        for folder in self.root.glob("*"):
            if folder.is_dir() and not any(folder.iterdir()):
                folder.rmdir()


def checksum_of(path: Path) -> int:
    """CRC-32 of the file."""
    checksum = 0
    with path.open("rb") as file:
        while piece := file.read(_READ_BYTES):
            checksum = zlib.crc32(piece, checksum)
    return checksum
