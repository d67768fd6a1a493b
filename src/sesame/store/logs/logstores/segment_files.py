"""The files of sealed segments: `logstores/<logstore>/<first>-<end>.parquet` below the data directory.

The only part that knows where segments lie, so that another may keep them in an object store. Everything here blocks.
"""

import os
import zlib
from collections.abc import Collection
from pathlib import Path

from sesame.store.durable import make_folder, sync_file, sync_folder

_PART = ".part"
# What a Parquet file begins and ends with.
_MAGIC = b"PAR1"
_READ_BYTES = 1024 * 1024


class SegmentFiles:
    def __init__(self, root: Path) -> None:
        self.root = root
        # Unknown files that the last sweep saw.
        self._strays: set[Path] = set()
        # Files whose checksums were right, as they were then.
        self._intact: dict[Path, tuple[int, ...]] = {}

    def open(self) -> None:
        make_folder(self.root)

    def path(self, logstore: int, first: int, end: int) -> Path:
        return self.root / str(logstore) / f"{first}-{end}.parquet"

    def size(self, logstore: int, first: int, end: int) -> int:
        """Bytes; 0 for a file that is missing."""
        try:
            return self.path(logstore, first, end).stat().st_size
        except FileNotFoundError:
            return 0

    def is_whole(self, logstore: int, first: int, end: int) -> bool:
        """Whether the file is there, and no part of it was cut off."""
        try:
            with self.path(logstore, first, end).open("rb") as file:
                if file.seek(0, os.SEEK_END) < 2 * len(_MAGIC):
                    return False
                file.seek(-len(_MAGIC), os.SEEK_END)
                return file.read() == _MAGIC
        except FileNotFoundError:
            return False

    def is_intact(self, logstore: int, first: int, end: int, checksum: int | None) -> bool:
        """Whether the file is whole and has this checksum. It is read once, and again when it was changed."""
        if not self.is_whole(logstore, first, end):
            return False
        path = self.path(logstore, first, end)
        found = path.stat()
        state = (found.st_ino, found.st_size, found.st_mtime_ns)
        if checksum is None or self._intact.get(path) == state:
            return True
        if checksum_of(path) != checksum:
            return False
        self._intact[path] = state
        return True

    def draft(self, logstore: int, first: int, end: int) -> Path:
        """Where to write a segment that `publish` gives its name. Its folder is there."""
        path = self.path(logstore, first, end)
        make_folder(path.parent)
        return path.with_name(path.name + _PART)

    def publish(self, logstore: int, first: int, end: int) -> None:
        """From here on the segment is there, complete, also after a power cut."""
        draft, path = self.draft(logstore, first, end), self.path(logstore, first, end)
        sync_file(draft)
        draft.rename(path)
        sync_folder(path.parent)

    def sweep(self, known: Collection[Path]) -> None:
        """Deletes files that are not `known` and were not at the last sweep either: no query reads them any more."""
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
