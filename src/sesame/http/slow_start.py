"""Takes what has queued while nobody answered a few at a time, until nothing waits.

Used by `http.server` for a server that goes on in another one's place.
"""

import asyncio
from collections.abc import Callable

from sesame.http.shared import Shared

# POLICY: as many requests may run as did when the server before stopped, at least so many, and one more for each second
# that has passed. All at once would be a burst of calls that nobody has made: each needs an instance of its own then,
# and those beyond the bound are refused.
AT_FIRST, MORE_PER_S = 8, 1.0
LOOKS_EVERY_S = 0.01


async def slow_start(shared: Shared, ran_before: int, take: Callable[[], bool]) -> None:
    """`take` takes one connection that waits; False where none does."""
    began = shared.clock()
    while True:
        passed_s = shared.clock() - began
        for _ in range(max(AT_FIRST, ran_before) + int(passed_s * MORE_PER_S) - len(shared.running)):
            if not take():
                return
        # Until those that were taken run.
        await asyncio.sleep(LOOKS_EVERY_S)
