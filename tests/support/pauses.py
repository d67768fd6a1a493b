"""How long a test that waits for a condition pauses between two looks at it.

What is looked at is a server's answer, or every process of the machine: a test that did nothing else would take the
processors from what it waits for. Used by the tests' loops, each with a deadline of its own.
"""

import asyncio
import time
from collections.abc import Callable

# A pause grows with the time that was waited already, up to this.
MOST_S = 0.25
SHARE_OF_WAIT = 0.1
# Of the time, so much at most is spent on looking: one part in five.
LOOKS_COST_TIMES = 4.0


class Pauses:
    """Of one wait; made before the first look."""

    def __init__(self, least_s: float, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._least_s = least_s
        self._monotonic = monotonic
        self._began = self._resumed = monotonic()

    def block(self) -> None:
        """Called after a look; returns when it is time for the next one."""
        time.sleep(self.after_look())

    async def wait(self) -> None:
        """As `block`; the event loop goes on."""
        await asyncio.sleep(self.after_look())

    def after_look(self) -> float:
        """How many seconds to wait before the next one; the caller waits at once."""
        now = self._monotonic()
        wanted = max(self._least_s, SHARE_OF_WAIT * (now - self._began), LOOKS_COST_TIMES * (now - self._resumed))
        pause_s = min(wanted, MOST_S)
        self._resumed = now + pause_s
        return pause_s
