"""Reads objects, fetching ahead when a file is read sequentially.

Used by `buckets.open_files`, in threads. The kernel asks for 128 KB at a time, while a request takes milliseconds.
"""

from collections import OrderedDict
from threading import Lock
from typing import NamedTuple

from sesame.sandbox.buckets.objects import Bucket, Head

WINDOW_BYTES = 2 * 1024 * 1024
# How many windows each mount keeps.
WINDOWS_MAX = 8


class _Window(NamedTuple):
    """`data` starts at offset `start` of the object with this ETag."""

    etag: str
    start: int
    data: bytes


class ReadAhead:
    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket
        self._windows: OrderedDict[int, _Window] = OrderedDict()
        self._lock = Lock()

    def read(self, handle: int, key: str, head: Head, wanted: tuple[int, int]) -> bytes:
        """`wanted` is (offset, maximum length). Raises `OSError` ESTALE if the object has been replaced."""
        start, count = wanted[0], min(wanted[1], head.size - wanted[0])
        if count <= 0:
            return b""
        with self._lock:
            window = self._windows.get(handle)
        if window is None or window.etag != head.etag:
            window = _Window(head.etag, 0, b"")
        begin, end = window.start, window.start + len(window.data)
        if begin <= start and start + count <= end:
            return window.data[start - begin : start - begin + count]
        # The kernel's own read-ahead requests may arrive out of order.
        goes_on = start <= end <= start + count
        data = self._bucket.read(key, start, min(max(count, WINDOW_BYTES), head.size - start) if goes_on else count,
                                 head.etag)  # fmt: skip
        if goes_on:
            with self._lock:
                self._windows[handle] = _Window(head.etag, start, data)
                self._windows.move_to_end(handle)
                if len(self._windows) > WINDOWS_MAX:
                    self._windows.popitem(last=False)
        return data[:count]

    def forget(self, handle: int) -> None:
        with self._lock:
            self._windows.pop(handle, None)
