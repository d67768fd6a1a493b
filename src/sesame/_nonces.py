"""Gives the writer of a cluster the nonces that were used before it led.

Called by `_agents`, before any request is checked against them.
"""

from contextlib import AsyncExitStack

import structlog

from sesame.background import BackgroundTasks, every
from sesame.identity.nonces import DIGEST_BYTES, GENERATION_MAX, REMEMBERED_S, UsedNonces
from sesame.model.clocks import Clocks
from sesame.model.errors import PlatformError
from sesame.store.nonces import NonceRows
from sesame.store.sql.database import Database

# POLICY: nonces of the last interval before a writer is lost can be reused once. Each second with such requests costs
# one commit, in addition to one for each asynchronous call.
KEEP_EVERY_S = 1.0

log = structlog.get_logger(__name__)


async def open_nonces(
    database: Database, clocks: Clocks, background: BackgroundTasks, teardown: AsyncExitStack
) -> UsedNonces:
    """Raises `PlatformError` if the database is unavailable."""
    rows = NonceRows(database, clocks.wall, DIGEST_BYTES, REMEMBERED_S)
    nonces = UsedNonces(clocks.wall)
    nonces.remember(await rows.newest(GENERATION_MAX))

    async def keep() -> None:
        noted = nonces.take_noted()
        if noted:
            try:
                await rows.add(noted)
            except PlatformError as error:
                # A writer without its database ends soon anyway.
                log.warning("nonces of requests are not kept for the next writer", nonces=len(noted), error=str(error))

    background.keep("keeping nonces", lambda: every(clocks, KEEP_EVERY_S, keep))
    teardown.push_async_callback(keep)
    return nonces
