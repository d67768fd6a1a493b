"""How long the end of a Sesame waits for what is under way: every wait for calls asks here.

Used by `app` and its parts for the steps of the teardown that wait for callers.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack


class Patience:
    """`seconds` at most for each wait, and none once it is lost: not for one under way, nor for one that follows."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._hurries: list[Callable[[], None]] = []
        self._lost = False

    async def end(self, stop: Callable[[float], Awaitable[None]], hurry: Callable[[], None]) -> None:
        """Runs `stop` with as much time as there is; `hurry` ends its wait, and nothing else that it does."""
        self._hurries.append(hurry)
        try:
            await stop(0.0 if self._lost else self._seconds)
        finally:
            self._hurries.remove(hurry)

    def end_beside(
        self, teardown: AsyncExitStack, stop: Callable[[float], Awaitable[None]], hurry: Callable[[], None]
    ) -> Callable[[], None]:
        """Has the teardown wait here until `stop` is over, as `end` does, which begins when what is given is called.

        That is for a step before: so the steps between both wait at the same time, and not one after the other.
        """
        ending: list[asyncio.Future[None]] = []

        def begin() -> None:
            ending.append(asyncio.ensure_future(self.end(stop, hurry)))

        async def ended() -> None:
            await asyncio.gather(*ending)

        teardown.push_async_callback(ended)
        return begin

    def lose(self) -> None:
        """Calls that run are ended now, by whichever step waits for them. Idempotent."""
        self._lost = True
        for hurry in tuple(self._hurries):
            hurry()
