"""Opens descriptors in threads for a start that may be cancelled, and closes those that arrive after a cancellation.

Used by `jail.volumes` and `jail.buckets`.
"""

import asyncio
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")
# Adds a descriptor to an instance's start message and closes it once that is sent. Returns its index.
Lend = Callable[[int], int]


async def opened(make: Callable[[], T], close: Callable[[T], object]) -> T:
    """Runs the blocking `make` in a thread. If the caller is cancelled, the result is passed to `close`."""
    making = asyncio.ensure_future(asyncio.to_thread(make))

    def close_late(_made: "asyncio.Future[T]") -> None:
        if not making.cancelled() and making.exception() is None:
            close(making.result())

    try:
        return await asyncio.shield(making)
    except asyncio.CancelledError:
        making.add_done_callback(close_late)
        raise
