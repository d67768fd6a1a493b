"""Waits, in tests under virtual time, for what happens outside of it: commits, processes and sockets.

Used where `FakeClocks.pass_time` cannot know that something is quiet. Never moves the virtual clock.
"""

import asyncio
import inspect
from collections.abc import Awaitable, Callable

from tests.support.pauses import Pauses

# Real seconds. A test that is right needs milliseconds; this bounds one that is wrong.
PATIENCE_S = 60.0
_LOOK_EVERY_S = 0.002


async def eventually(condition: Callable[[], object | Awaitable[object]]) -> None:
    """Returns once `condition()` is true; fails after PATIENCE_S of real time."""
    pauses = Pauses(_LOOK_EVERY_S)
    async with asyncio.timeout(PATIENCE_S):
        while True:
            held = condition()
            if await held if inspect.isawaitable(held) else held:
                return
            await pauses.wait()
