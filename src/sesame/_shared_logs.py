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
from sesame.store.logs.logstores.shared import TOLD_EVERY_S, SharedRows
from sesame.store.logs.logstores.shared_groups import SharedGroups
from sesame.store.logs.logstores.store import Shared
from sesame.store.logs.shared.copying import Copying
from sesame.store.logs.shared.group_index import GroupIndex
from sesame.store.logs.shared.index import SegmentIndex
from sesame.store.logs.shared.objects import SegmentObjects
from sesame.store.logs.shared.shipping import Shipping
from sesame.store.logs.writer import Logstores, LogWriterProcess
from sesame.store.sql.database import Database

EXPIRE_EVERY_S = 600.0
# As often as logs are deleted in the file of the logstores: all rows are looked at.
EXPIRE_GROUPS_EVERY_S = 3600.0


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


async def open_shared_logs(needs: LogsNeeds, database: Database, objects: SegmentObjects, epoch: int) -> Logs:
    """As `open_own_logs`, for the writer of a cluster."""
    clocks, limits = needs.clocks, needs.retention
    index = SegmentIndex(database, epoch, clocks.wall)
    next_id = await index.reserve()
    made: list[LogWriterProcess] = []

    def writer(path: Path, total_bytes: int, age_s: float, on_settled: Callable[[int], None]) -> LogWriterProcess:
        made.append(LogWriterProcess(path, total_bytes, age_s, on_settled, needs.copies, next_id))
        return made[0]

    logs = await _opened(needs, writer)
    shipping = Shipping(made[0], index, objects, limits, clocks)

    async def last_lines() -> None:
        await logs.flush()
        await shipping.close()

    needs.teardown.push_async_callback(last_lines)
    copying = Copying(made[0], index, objects, limits, clocks)
    needs.background.keep("bringing logs into the bucket", shipping.run)
    needs.background.keep("copying logs from the bucket", copying.run)
    needs.background.keep("deleting old logs in the bucket", lambda: every(clocks, EXPIRE_EVERY_S, shipping.expire))
    return logs


def segment_objects(database: Database, bucket: Bucket | None, epoch: int, clocks: Clocks) -> SegmentObjects | None:
    """The one that puts and deletes segments, for the writer of a cluster; None for one of no cluster."""
    return None if not epoch or bucket is None else SegmentObjects(database, bucket, clocks.wall)


async def shared_logstores(
    database: Database, objects: SegmentObjects | None, epoch: int, path: Path, clocks: Clocks
) -> Shared | None:
    """What the Log Service shares, for the writer of a cluster; of no cluster, None unless the database was one's."""
    rows = SharedRows(database, path)
    if objects is None:
        return Shared(rows) if await rows.exist() else None
    return Shared(rows, SharedGroups(GroupIndex(database, epoch, clocks.wall), objects, path, clocks))


def share_logstores(background: BackgroundTasks, shared: Shared, clocks: Clocks) -> None:
    """Once the store is open."""
    background.keep("telling numbers of logs", lambda: every(clocks, TOLD_EVERY_S, shared.rows.tell_numbers))
    groups = shared.groups
    if groups is None:
        return
    expire = groups.expire
    background.keep("copying logs of logstores from the bucket", groups.copy_for_ever)
    background.keep("bringing logs of logstores into the bucket", groups.bring_for_ever)
    background.keep(
        "deleting old logs of logstores in the bucket", lambda: every(clocks, EXPIRE_GROUPS_EVERY_S, expire)
    )


async def _opened(
    needs: LogsNeeds, writer: Callable[[Path, int, float, Callable[[int], None]], LogWriterProcess]
) -> Logs:
    logs = Logs(needs.path, needs.retention, needs.clocks, writer)
    await logs.open()
    needs.teardown.push_async_callback(logs.close)
    return logs
