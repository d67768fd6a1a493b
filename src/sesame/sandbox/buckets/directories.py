"""The open directories of one mounted bucket: reads their entries page by page from the bucket's listing.

Used by `buckets.filesystem`, in threads.
"""

import errno
import os
import time
from collections.abc import Callable, Mapping
from threading import Lock

from sesame.sandbox.buckets import fuse
from sesame.sandbox.buckets.nodes import Node, Tree
from sesame.sandbox.buckets.objects import Bucket, Head

OPEN_MAX = 256
_FUSE_NAME_BYTES_MAX = 1024
# (monotonic time, heads by key): reports what a listing has shown.
Seen = Callable[[float, Mapping[str, Head]], None]


class _OpenDirectory:
    """`entries` is the current page, starting at entry number `first`; the next page starts after key `marker`."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self.lock = Lock()
        self.entries: list[tuple[bytes, bool]] = []
        self.first = 0
        self.marker = ""
        self.begun = False
        self.drafts: frozenset[str] = frozenset()


class OpenDirectories:
    def __init__(self, tree: Tree, bucket: Bucket, seen: Seen) -> None:
        self._tree = tree
        self._bucket = bucket
        self._seen = seen
        self._open: dict[int, _OpenDirectory] = {}
        self._last_handle = 0
        self._lock = Lock()

    def open(self, node: Node) -> int:
        with self._lock:
            if len(self._open) >= OPEN_MAX:
                raise OSError(errno.ENFILE, os.strerror(errno.ENFILE))
            self._last_handle += 1
            self._open[self._last_handle] = _OpenDirectory(node)
            return self._last_handle

    def release(self, handle: int) -> None:
        with self._lock:
            self._open.pop(handle, None)

    def read(self, handle: int, offset: int, count: int) -> bytes:
        """Encodes the entries from number `offset` on, as many as fit into `count` bytes."""
        directory = self._open.get(handle)
        if directory is None:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        with directory.lock:
            if offset == 0 or offset < directory.first:
                self._begin(directory)
            while offset >= directory.first + len(directory.entries) and directory.marker:
                self._go_on(directory)
            found = bytearray()
            for number, (name, is_directory) in enumerate(directory.entries[max(offset - directory.first, 0) :]):
                entry = fuse.directory_entry(offset + number + 1, name, is_directory=is_directory)
                if len(found) + len(entry) > count:
                    break
                found += entry
            return bytes(found)

    def _begin(self, directory: _OpenDirectory) -> None:
        """Starts over, with `.`, `..` and the files that exist only as drafts."""
        directory.drafts = frozenset(self._tree.drafts_below(directory.node))
        directory.first, directory.marker = 0, ""
        own = [(b".", True), (b"..", True), *((name.encode(), False) for name in sorted(directory.drafts))]
        directory.entries = [*own, *self._page(directory)]

    def _go_on(self, directory: _OpenDirectory) -> None:
        directory.first += len(directory.entries)
        directory.entries = self._page(directory)

    def _page(self, directory: _OpenDirectory) -> list[tuple[bytes, bool]]:
        prefix = self._tree.key(directory.node)
        at = time.monotonic()
        page = self._bucket.list(prefix, marker=directory.marker)
        directory.marker = page.marker
        self._seen(at, page.objects)
        names = {key.removeprefix(prefix): False for key in page.objects}
        for each in page.prefixes:
            # An object hides a directory of the same name.
            names.setdefault(each.removeprefix(prefix).removesuffix("/"), True)
        return [
            (name.encode(), is_directory)
            for name, is_directory in names.items()
            if _is_name(name) and name not in directory.drafts
        ]


def _is_name(name: str) -> bool:
    """Whether a key's part can be a file name: empty parts, `.` and `..` have no path."""
    return name not in ("", ".", "..") and "\0" not in name and len(name.encode()) < _FUSE_NAME_BYTES_MAX
