"""How the writer of a cluster handles failures of bucket, database or disk: it retries, and logs the failure once.

Used for the lines of functions (`shipping`, `copying`) and the logs of logstores (`logstores.shared_groups`).
"""

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from sesame.model.clocks import Clocks
from sesame.model.errors import PlatformError
from sesame.store.logs.shared.progress import Tell

# POLICY: how much of the log may be lost with the leading node. Uploading more often would cost more objects:
# one every five seconds, each with a row, are 17,280 a day while functions write all the time.
SEAL_EVERY_S = 5.0
# How long a clean stop waits for the file and the bucket; the rest is uploaded when the node leads again.
STOP_PATIENCE_S = 10.0
AGAIN_AFTER_S = 5.0
# What was written is in the file by then: it is flushed each 0.15 s, and the rest of a line after 1 s (`logs.intake`).
INTO_THE_FILE_S = 1.5

log = structlog.get_logger(__name__)


class Bringing:
    """Runs `bring`, which uploads new rows of the file to the bucket, and reports its progress through `tell`.

    `what` is a plural noun for Sesame's log.
    """

    def __init__(self, bring: Callable[[], Awaitable[None]], what: str, clocks: Clocks, tell: Tell) -> None:
        self._bring = bring
        self._tell = tell
        self._what = what
        self._clocks = clocks
        self._failing = False

    async def run(self) -> None:
        """Never returns."""
        while True:
            await self._clocks.sleep(SEAL_EVERY_S)
            await self.attempt()

    async def attempt(self) -> None:
        """Logs a failure once, and retries at the next attempt."""
        began = self._clocks.wall()
        try:
            await self._bring()
            await self._tell(began - INTO_THE_FILE_S)
        except PlatformError as error:
            if not self._failing:
                log.warning(f"{self._what} do not get into the bucket; trying again", error=str(error))
            self._failing = True
        else:
            if self._failing:
                log.info(f"{self._what} get into the bucket again")
            self._failing = False

    async def close(self, write: Callable[[], Awaitable[None]] | None = None) -> None:
        """Uploads the last rows too, if the bucket accepts them soon, after `write` has put them into the file."""
        try:
            async with asyncio.timeout(STOP_PATIENCE_S):
                if write is not None:
                    await write()
                await self.attempt()
        except TimeoutError:
            log.warning(f"the last {self._what} are not in the bucket; they get there when this node leads again")


async def copied(copy: Callable[[], Awaitable[int]], what: str, clocks: Clocks) -> None:
    """Returns once `copy` has copied everything that others uploaded."""
    while True:
        try:
            segments = await copy()
        except PlatformError as error:
            log.warning(f"{what} of other nodes cannot be copied from the bucket; trying again", error=str(error))
            await clocks.sleep(AGAIN_AFTER_S)
        else:
            if segments:
                log.info(f"{what} of other nodes are here", segments=segments)
            return
