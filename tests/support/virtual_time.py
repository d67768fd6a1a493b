"""Waits, in tests under virtual time, for what happens outside of it: commits, processes and sockets.

Used where `FakeClocks.pass_time` cannot know that something is quiet. Never moves the virtual clock.
"""

import asyncio
import contextlib
import inspect
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

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


@contextlib.contextmanager
def waits_in_real_time(at_least_s: float) -> Iterator[list[tuple[float, str]]]:
    """Gives a list that fills with the timers of the event loop that run out: seconds, and what they call.

    Only of those that were set for `at_least_s` or longer. How fast the machine is makes no difference: a bound on
    something that comes in time does not run out.
    """
    loop: Any = asyncio.get_running_loop()
    found: list[tuple[float, str]] = []
    call_at = loop.call_at

    def noting(when: float, callback: Callable[..., object], *arguments: object, context: Any = None) -> Any:
        delay_s = when - loop.time()

        def run(*given: object) -> None:
            found.append((delay_s, repr(callback)))
            callback(*given)

        return call_at(when, run if delay_s >= at_least_s else callback, *arguments, context=context)

    loop.call_at = noting
    try:
        yield found
    finally:
        del loop.call_at
