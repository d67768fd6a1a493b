"""Drafts: data that a function has written and that is not uploaded yet, in an unnamed file on this machine's disk.

Created by `buckets.open_files`. The kernel frees a draft when the process that holds it ends for any reason.
"""

import errno
import os
import tempfile
import time
from pathlib import Path
from threading import Lock
from typing import IO

from sesame.sandbox.disk_reserve import DiskReserve

MIB = 1024 * 1024
# The largest object that a single PUT can create (reference/companions.md §1.11).
FILE_BYTES_MAX = 5 * 1024 * MIB
# Bounds for all drafts of one mount. Each is an open file of this process.
DRAFTS_BYTES_MAX = FILE_BYTES_MAX
DRAFTS_MAX = 256
_UNKNOWN = 0


class Room:
    """The disk space available to the drafts of one mount, in `folder`. Respects the disk's reserve."""

    def __init__(self, folder: Path, reserve_mb: int | None = None) -> None:
        self.folder = folder
        self._reserve = DiskReserve(folder, reserve_mb)
        self._taken = 0
        self._drafts = 0
        self._lock = Lock()

    def enter(self) -> None:
        """Counts one more draft. Raises `OSError` ENFILE if there are too many."""
        with self._lock:
            if self._drafts >= DRAFTS_MAX:
                raise OSError(errno.ENFILE, os.strerror(errno.ENFILE))
            self._drafts += 1

    def leave(self) -> None:
        with self._lock:
            self._drafts -= 1

    def take(self, count: int) -> None:
        """Takes `count` bytes; a negative count gives them back. Raises `OSError` ENOSPC."""
        with self._lock:
            if count > 0 and (self._taken + count > DRAFTS_BYTES_MAX or self._reserve.shortage()):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            self._taken += count


class Draft:
    """Hold the node's lock for all operations except `read` and the attributes that describe its state.

    `is_new`: no object of this name exists yet. `is_dirty`: it differs from the object. A `forsaken` draft is not
    uploaded on its own, because its writer was killed or has been told that the upload failed.
    """

    def __init__(self, room: Room, *, is_new: bool) -> None:
        self._room = room
        room.enter()
        try:
            self._file: IO[bytes] = tempfile.TemporaryFile(dir=room.folder, buffering=0)  # noqa: SIM115
        except OSError:
            room.leave()
            raise
        self.is_new = is_new
        self.is_dirty = is_new
        self.forsaken = False
        self.size = 0
        self.modified_at = time.time()
        self._writers: set[int] = set()

    @property
    def source(self) -> IO[bytes]:
        """The draft's file, rewound to its beginning."""
        self._file.seek(0)
        return self._file

    def read(self, offset: int, count: int) -> bytes:
        return os.pread(self._file.fileno(), count, offset)

    def append(self, data: bytes) -> None:
        """Appends contents of the object itself, which do not make the draft dirty."""
        self._put(self.size, data)

    def write(self, offset: int, data: bytes) -> None:
        self._put(offset, data)
        self._changed()

    def written_by(self, process: int) -> None:
        """Remembers a process that wrote; 0 if it is unknown."""
        self._writers.add(process)

    def truncate(self, size: int) -> None:
        if size > FILE_BYTES_MAX:
            raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))
        self._room.take(size - self.size)
        os.ftruncate(self._file.fileno(), size)
        self.size = size
        self._changed()

    def may_be_closed_by(self, process: int) -> bool:
        """Whether closing by this process counts: it has written, and is not just a child that inherited the file."""
        return not self._writers or _UNKNOWN in self._writers or process in self._writers

    def uploaded(self) -> None:
        self.is_new = self.is_dirty = self.forsaken = False
        self._writers.clear()

    def close(self) -> None:
        self._room.take(-self.size)
        self._room.leave()
        self._file.close()

    def _put(self, offset: int, data: bytes) -> None:
        end = offset + len(data)
        if end > FILE_BYTES_MAX:
            raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))
        grown = max(end - self.size, 0)
        self._room.take(grown)
        try:
            view = memoryview(data)
            while view:
                count = os.pwrite(self._file.fileno(), view, offset)
                view, offset = view[count:], offset + count
        except OSError:
            self._room.take(-grown)
            raise
        self.size = max(self.size, end)

    def _changed(self) -> None:
        self.is_dirty, self.forsaken = True, False
        self.modified_at = time.time()
