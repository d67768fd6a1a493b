"""The log of functions in a cluster: what is in `logs.db` of the node that leads gets into the bucket, and back.

Called by `_storage` for the writer of a cluster.
"""

import functools
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path

import msgspec

from sesame.background import BackgroundTasks, every
from sesame.model.clocks import Clocks
from sesame.store.blobs.bucket import Bucket
from sesame.store.logs.intake import Logs, Retention
from sesame.store.logs.shared.copying import Copying
from sesame.store.logs.shared.index import SegmentIndex
from sesame.store.logs.shared.shipping import Shipping
from sesame.store.logs.writer import Logstores, LogWriterProcess
from sesame.store.sql.database import Database

EXPIRE_EVERY_S = 600.0


class LogsNeeds(msgspec.Struct, frozen=True):
    """What `teardown` gets is closed last. `copies`: who is told of lines in logstores."""

    path: Path
    retention: Retention
    clocks: Clocks
    copies: Logstores
    background: BackgroundTasks
    teardown: AsyncExitStack


async def open_own_logs(needs: LogsNeeds) -> Logs:
    """Of one machine. Raises `ConfigurationError` if the file cannot be used."""
    return await _opened(needs, functools.partial(LogWriterProcess, logstores=needs.copies))


async def open_shared_logs(needs: LogsNeeds, database: Database, bucket: Bucket, epoch: int) -> Logs:
    """As `open_own_logs`, for the writer of a cluster."""
    clocks, limits = needs.clocks, needs.retention
    index = SegmentIndex(database, epoch, clocks.wall)
    next_id = await index.reserve()
    made: list[LogWriterProcess] = []

    def writer(path: Path, total_bytes: int, age_s: float, on_settled: Callable[[int], None]) -> LogWriterProcess:
        made.append(LogWriterProcess(path, total_bytes, age_s, on_settled, needs.copies, next_id))
        return made[0]

    logs = await _opened(needs, writer)
    shipping = Shipping(made[0], index, bucket, limits, clocks)

    async def last_lines() -> None:
        await logs.flush()
        await shipping.close()

    needs.teardown.push_async_callback(last_lines)
    copying = Copying(made[0], index, bucket, limits, clocks)
    needs.background.keep("bringing logs into the bucket", shipping.run)
    needs.background.keep("copying logs from the bucket", copying.run)
    needs.background.keep("deleting old logs in the bucket", lambda: every(clocks, EXPIRE_EVERY_S, shipping.expire))
    return logs


async def _opened(
    needs: LogsNeeds, writer: Callable[[Path, int, float, Callable[[int], None]], LogWriterProcess]
) -> Logs:
    logs = Logs(needs.path, needs.retention, needs.clocks, writer)
    await logs.open()
    needs.teardown.push_async_callback(logs.close)
    return logs
