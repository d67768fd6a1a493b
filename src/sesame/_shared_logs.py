"""Uploads logs of the leading node to the cluster's bucket, and copies those of other nodes from it.

Called by `_storage` for the writer of a cluster, and imported only there.
"""

from collections.abc import Callable
from pathlib import Path

from sesame._own_logs import LogsNeeds, opened
from sesame.background import BackgroundTasks, every
from sesame.model.clocks import Clocks
from sesame.store.logs.intake import Logs
from sesame.store.logs.logstores.shared import SharedRows
from sesame.store.logs.logstores.shared_groups import SharedGroups
from sesame.store.logs.logstores.store import Shared
from sesame.store.logs.shared import progress
from sesame.store.logs.shared.copying import Copying
from sesame.store.logs.shared.group_index import GroupIndex
from sesame.store.logs.shared.index import SegmentIndex
from sesame.store.logs.shared.loops import Bringing, copied
from sesame.store.logs.shared.merging import How, Merging
from sesame.store.logs.shared.objects import SegmentObjects
from sesame.store.logs.shared.segment import SEGMENT_BYTES, follow
from sesame.store.logs.shared.shipping import Shipping
from sesame.store.logs.writer import LogWriterProcess
from sesame.store.sql.database import Database

LINES = "lines of functions"
EXPIRE_EVERY_S = 600.0
# The same interval at which old logs are deleted from the file of the logstores, because all rows are read.
EXPIRE_GROUPS_EVERY_S = 3600.0


async def open_shared_logs(needs: LogsNeeds, database: Database, objects: SegmentObjects, epoch: int) -> Logs:
    """As `open_own_logs`, for the writer of a cluster."""
    clocks, limits = needs.clocks, needs.retention
    index = SegmentIndex(database, epoch, clocks.wall)
    numbering = await index.reserve()
    made: list[LogWriterProcess] = []

    def writer(path: Path, total_bytes: int, age_s: float, on_settled: Callable[[int], None]) -> LogWriterProcess:
        made.append(LogWriterProcess(path, total_bytes, age_s, on_settled, needs.copies, numbering))
        return made[0]

    logs = await opened(needs, writer)
    shipping = Shipping(made[0], index, objects, limits, clocks)
    bringing = Bringing(shipping.ship, LINES, clocks, progress.teller(database, progress.LINES))
    needs.teardown.push_async_callback(bringing.close, logs.end_lines)
    copying = Copying(made[0], index, objects, limits)
    merging = Merging(index, objects, How(SEGMENT_BYTES, follow, made[0].join))

    async def copy() -> None:
        """Copies everything, after which nobody else writes; then keeps merging small segments."""
        await copied(copying.copy, LINES, clocks)
        await merging.run(clocks)

    needs.background.keep("bringing logs into the bucket", bringing.run)
    needs.background.keep("copying logs from the bucket", copy)
    needs.background.keep("deleting old logs in the bucket", lambda: every(clocks, EXPIRE_EVERY_S, shipping.expire))
    return logs


def shared_logstores(database: Database, objects: SegmentObjects, epoch: int, path: Path, clocks: Clocks) -> Shared:
    """The Log Service's shared rows and logs."""
    tell = progress.teller(database, progress.GROUPS)
    groups = SharedGroups(GroupIndex(database, epoch, clocks.wall), objects, path, clocks, tell)
    return Shared(SharedRows(database, path, clocks.wall), groups)


def keep_groups_shared(background: BackgroundTasks, groups: SharedGroups, clocks: Clocks) -> None:
    """Starts copying and uploading logs of logstores, once the store is open."""
    background.keep("copying logs of logstores from the bucket", groups.copy_for_ever)
    background.keep("bringing logs of logstores into the bucket", groups.bring_for_ever)
    background.keep(
        "deleting old logs of logstores in the bucket", lambda: every(clocks, EXPIRE_GROUPS_EVERY_S, groups.expire)
    )
