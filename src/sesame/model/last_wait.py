"""How a part that ends waits for what it still runs: as long as its patience lasts, unless somebody hurries it.

Used by `engine.async_invoker` and `destinations.deliverer`.
"""

import asyncio
from collections.abc import Callable

from sesame.model.clocks import Clocks


class LastWait:
    """Belongs to one event loop."""

    def __init__(self, clocks: Clocks, runs: Callable[[], object]) -> None:
        """`runs` is true while anything runs; `look` is to be called when something has ended."""
        self._clocks = clocks
        self._runs = runs
        self._over = asyncio.Event()
        self._patient = self._hurried = False

    async def patiently(self, patience_s: float) -> None:
        """As `at_most`; not for longer than until somebody hurries, and not at all after that."""
        if not self._hurried:
            self._patient = True
            await self.at_most(patience_s)
            self._patient = False

    async def at_most(self, within_s: float) -> None:
        """Returns when nothing runs, or after `within_s`."""
        self._over.clear()
        if within_s > 0 and self._runs():
            timer = self._clocks.call_later(within_s, self._over.set)
            await self._over.wait()
            timer.cancel()

    def look(self) -> None:
        if not self._runs():
            self._over.set()

    def hurry(self) -> None:
        """Ends `patiently`, and no other wait; also before it comes to that."""
        self._hurried = True
        if self._patient:
            self._over.set()
