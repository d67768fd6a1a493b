"""Takes over what was queued while nobody answered, a few requests at a time.

Used by `http.server` when it continues in place of another server.
"""

import asyncio
from collections.abc import Callable

from sesame.http.shared import Shared

# POLICY: as many requests may run as when the predecessor stopped, but at least AT_FIRST, plus one for each second
# that has passed. Taking all at once would create a burst of calls that nobody made: each would need an instance of its
# own, and those beyond the cap would be refused.
AT_FIRST, MORE_PER_S = 8, 1.0
LOOKS_EVERY_S = 0.01
# How many turns of the event loop it takes until the request of an accepted connection is running, with a margin: when
# the loop is slow, the time passes within one turn.
TURNS = 16


async def slow_start(shared: Shared, ran_before: int, take: Callable[[], bool]) -> None:
    """`take` takes over one waiting connection, and returns False if there is none."""
    began_at = shared.clock()
    while True:
        passed_s = shared.clock() - began_at
        for _ in range(max(AT_FIRST, ran_before) + int(passed_s * MORE_PER_S) - len(shared.running)):
            if not take():
                return
        # Wait until the requests of those taken over are running.
        await asyncio.sleep(LOOKS_EVERY_S)
        for _ in range(TURNS):
            await asyncio.sleep(0)
