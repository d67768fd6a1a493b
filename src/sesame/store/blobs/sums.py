"""Computes digests of blobs while they are written.

Used by the stores of blobs.
"""

import asyncio
import hashlib
from collections.abc import Callable
from typing import TypeVar

import fastcrc

from sesame.model.object import Written

T = TypeVar("T")

# Below this size, computing a digest takes less time than switching to a thread.
SUMMED_HERE_MAX = 16 * 1024


class Sums:
    """The digests of the bytes added so far. Used by one thread at a time."""

    def __init__(self) -> None:
        self._md5 = hashlib.md5(usedforsecurity=False)
        self._crc64 = 0
        self._size = 0

    def add(self, data: bytes) -> None:
        self._md5.update(data)
        self._crc64 = fastcrc.crc64.xz(data, self._crc64)
        self._size += len(data)

    def written(self, blob: str) -> Written:
        """The result, for the blob of this name."""
        return Written(blob=blob, size=self._size, md5=self._md5.hexdigest().upper(), crc64=self._crc64)


async def summed(add: Callable[[bytes], T], data: bytes) -> T:
    """Calls `add(data)`, for the event loop: on a thread if `data` is long."""
    return add(data) if len(data) <= SUMMED_HERE_MAX else await asyncio.to_thread(add, data)
