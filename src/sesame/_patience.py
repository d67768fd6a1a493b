"""How long the end of a Sesame waits for running calls: every such wait uses the same `Patience`.

Used by `app` and its parts for the steps of the teardown that wait for callers.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack


class Patience:
    """Allows `seconds` for each wait; once lost, it ends the current wait and allows no time for later ones."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._hurries: list[Callable[[], None]] = []
        self._lost = False

    async def end(self, stop: Callable[[float], Awaitable[None]], hurry: Callable[[], None]) -> None:
        """Runs `stop` with the remaining patience. `hurry` cuts only its waiting short, not the rest of its work."""
        self._hurries.append(hurry)
        try:
            await stop(0.0 if self._lost else self._seconds)
        finally:
            self._hurries.remove(hurry)

    def end_beside(
        self, teardown: AsyncExitStack, stop: Callable[[float], Awaitable[None]], hurry: Callable[[], None]
    ) -> Callable[[], None]:
        """Registers `stop` to run as with `end`, starting early; the teardown waits at this step until it is over.

        Returns a function that an earlier step calls to start it, so that both steps wait at the same time.
        """
        ending: list[asyncio.Future[None]] = []

        def begin() -> None:
            ending.append(asyncio.ensure_future(self.end(stop, hurry)))

        async def ended() -> None:
            await asyncio.gather(*ending)

        teardown.push_async_callback(ended)
        return begin

    def lose(self) -> None:
        """Ends running calls now, in whichever step waits for them. Idempotent."""
        self._lost = True
        for hurry in tuple(self._hurries):
            hurry()
