"""How a component waits, on shutdown, for the work it still runs: patiently, until it is hurried.

Used by `engine.async_invoker` and `destinations.deliverer`.
"""

import asyncio
from collections.abc import Callable

from sesame.model.clocks import Clocks


class LastWait:
    """Not thread-safe: belongs to one event loop."""

    def __init__(self, clocks: Clocks, runs: Callable[[], object]) -> None:
        """`runs` returns a true value while any work runs. Call `look` whenever a piece of work has ended."""
        self._clocks = clocks
        self._runs = runs
        self._over = asyncio.Event()
        self._patient = self._hurried = False

    async def patiently(self, patience_s: float) -> None:
        """Like `at_most`, but `hurry` ends the wait early; returns at once after `hurry`."""
        if not self._hurried:
            self._patient = True
            await self.at_most(patience_s)
            self._patient = False

    async def at_most(self, within_s: float) -> None:
        """Returns when no work runs, or after `within_s` seconds."""
        self._over.clear()
        if within_s > 0 and self._runs():
            timer = self._clocks.call_later(within_s, self._over.set)
            await self._over.wait()
            timer.cancel()

    def look(self) -> None:
        if not self._runs():
            self._over.set()

    def hurry(self) -> None:
        """Ends `patiently`, also a later one, and no other wait."""
        self._hurried = True
        if self._patient:
            self._over.set()
