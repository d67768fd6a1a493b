"""Descriptors that are opened in threads, by a start that may be given up meanwhile: one that comes too late is closed.

Used by `jail.volumes` and `jail.buckets`.
"""

import asyncio
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")
# Takes a descriptor that goes with an instance's start message, and is closed once that is sent. Returns its place.
Lend = Callable[[int], int]


async def opened(make: Callable[[], T], close: Callable[[T], object]) -> T:
    """What `make` returns, which blocks. Where nobody waits for it any more, it is given to `close`."""
    making = asyncio.ensure_future(asyncio.to_thread(make))

    def close_late(_made: "asyncio.Future[T]") -> None:
        if not making.cancelled() and making.exception() is None:
            close(making.result())

    try:
        return await asyncio.shield(making)
    except asyncio.CancelledError:
        making.add_done_callback(close_late)
        raise
