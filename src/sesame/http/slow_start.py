"""Takes what has queued while nobody answered a few at a time, until nothing waits.

Used by `http.server` for a server that goes on in another one's place.
"""

import asyncio
from collections.abc import Callable

from sesame.http.shared import Shared

# POLICY: so many requests may run at first, one more for each that has ended since, and twice as many as time passes.
# All at once would be a burst of calls that nobody has made: each needs an instance of its own then, and those beyond
# the bound are refused.
AT_FIRST, DOUBLES_AFTER_S = 8, 10.0
LONGEST_S = 30.0
LOOKS_EVERY_S = 0.01


async def slow_start(shared: Shared, take: Callable[[], bool]) -> None:
    """`take` takes one connection that waits; False where none does."""
    began, taken = shared.clock(), 0
    while (passed_s := shared.clock() - began) < LONGEST_S:
        running = len(shared.running)
        ended = max(0, taken - running)
        for _ in range(int(AT_FIRST * 2 ** (passed_s / DOUBLES_AFTER_S)) + ended - running):
            if not take():
                return
            taken += 1
        # Until those that were taken run.
        await asyncio.sleep(LOOKS_EVERY_S)
