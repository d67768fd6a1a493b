"""Nodes of a cluster that lead one after the other, each with a file of logstores. Used by `tests/store/logstores`."""

from contextlib import AsyncExitStack
from pathlib import Path

from tests.support.objects_in_memory import Objects
from tests.support.query_processes import query_processes

from sesame._own_logs import rows_of_no_cluster
from sesame.model.clocks import SYSTEM_CLOCKS
from sesame.model.logstore import LineIndex, LogGroup, LogIndex, LogProject, LogRecord, Logstore
from sesame.store.logs.logstores.shared import SharedRows
from sesame.store.logs.logstores.shared_groups import SharedGroups
from sesame.store.logs.logstores.store import LogStorage, Shared
from sesame.store.logs.shared.group_index import GroupIndex
from sesame.store.logs.shared.objects import SegmentObjects
from sesame.store.logs.shared.progress import GROUPS, teller
from sesame.store.sql.database import Database

NOW_S = 1_700_000_000
INDEX = LogIndex(line=LineIndex((" ",)))


def group(*texts: str) -> LogGroup:
    records = tuple(LogRecord(NOW_S, 0, (("message", text),)) for text in texts)
    return LogGroup(records, topic="t", source="s")


class Cluster:
    """Nodes that lead one after the other, each with a file of its own."""

    def __init__(self, database: Database, folder: Path, stack: AsyncExitStack) -> None:
        self.database = database
        self.folder = folder
        self._stack = stack
        self._epoch = 0
        self.objects = Objects()
        # So much later nodes begin to lead.
        self.later_s = 0.0

    async def lead(self, node: str, *, whole: bool = True) -> LogStorage:
        """With `whole`, what others took is here."""
        path = self.file(node)
        path.parent.mkdir(exist_ok=True)
        self._epoch += 1
        objects = SegmentObjects(self.database, self.objects, SYSTEM_CLOCKS.wall)
        self.index = index = GroupIndex(self.database, self._epoch, SYSTEM_CLOCKS.wall)
        self.groups = SharedGroups(index, objects, path, SYSTEM_CLOCKS, teller(self.database, GROUPS))
        self.rows = SharedRows(self.database, path, lambda: SYSTEM_CLOCKS.wall() + self.later_s)
        storage = await self._opened(path, Shared(self.rows, self.groups))
        if whole:
            await self.groups.copy()
        return storage

    async def alone(self, node: str) -> LogStorage:
        """As a Sesame of no cluster that has the database, before the cluster or while none of its nodes runs."""
        path = self.file(node)
        path.parent.mkdir(exist_ok=True)
        return await self._opened(path, await rows_of_no_cluster(self.database, path, SYSTEM_CLOCKS))

    def file(self, node: str) -> Path:
        return self.folder / node / "logstores.db"

    async def _opened(self, path: Path, shared: Shared | None) -> LogStorage:
        storage = LogStorage(
            path, path.parent / "segments", SYSTEM_CLOCKS, query_processes(), durable=False, shared=shared
        )
        await storage.open()
        self._stack.push_async_callback(storage.close)
        return storage


async def texts(storage: LogStorage, cursor: int = 0) -> list[str]:
    pulled = await storage.pull("p", "l", 0, cursor, 100)
    return [record.contents[0][1] for each in pulled.groups for record in each.records]


async def filled(storage: LogStorage) -> None:
    await storage.create_project(LogProject("p", "a shop"))
    await storage.create_logstore(Logstore("p", "l", ttl_days=7, shards=1))
