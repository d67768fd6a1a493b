"""The store of the Log Service: `interface.Logstores`, durable, in the data directory.

Created by `app`; each part has a file of its own: `metadata`, `commits`, `reading`, `queries`, `consumers`, `sealing`,
`retention`.
"""

import asyncio
import itertools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import msgspec
import structlog

from sesame.model.clocks import Clocks
from sesame.model.errors import NotFound, PlatformError
from sesame.model.logstore import LOGSTORE, LogGroup, LogIndex, LogProject, Logstore
from sesame.store.logs.logstores import interface
from sesame.store.logs.logstores.commits import Commits
from sesame.store.logs.logstores.consumers import ConsumerGroups
from sesame.store.logs.logstores.file import encoded, insert
from sesame.store.logs.logstores.known import Known
from sesame.store.logs.logstores.measuring import Kept, LogServiceCounts, kept
from sesame.store.logs.logstores.metadata import Metadata
from sesame.store.logs.logstores.queries import Queries
from sesame.store.logs.logstores.query_processes import QueryProcesses
from sesame.store.logs.logstores.reader_cursors import ReaderCursors
from sesame.store.logs.logstores.reading import Reader
from sesame.store.logs.logstores.retention import Retention
from sesame.store.logs.logstores.sealing import Sealer, forget_segments
from sesame.store.logs.logstores.segment_files import SegmentFiles
from sesame.store.logs.logstores.shards import check_key, require_shard, shards_of
from sesame.store.logs.logstores.shared import SharedRows
from sesame.store.sql import sqlite_file

if TYPE_CHECKING:
    from sesame.store.logs.logstores.shared_groups import SharedGroups

log = structlog.get_logger(__name__)


class Shared(msgspec.Struct, frozen=True):
    """The data of a cluster's Log Service that are available wherever its writer runs: `rows`, and logs in `groups`.

    A Sesame without a cluster that uses a cluster's database has its rows, but no `groups`.
    """

    rows: SharedRows
    groups: "SharedGroups | None" = None


class LogStorage:
    """Implements `interface.Logstores`. One for each data directory; belongs to one event loop."""

    def __init__(
        self,
        path: Path,
        segments: Path,
        clocks: Clocks,
        processes: QueryProcesses,
        *,
        durable: bool = True,
        shared: Shared | None = None,
    ) -> None:
        """`path` is the database, `segments` the folder of sealed segments. A `durable` commit is on the disk.

        `processes` answer the queries; the caller closes them after this. In a cluster, `shared` is set.
        """
        self._rows = None if shared is None else shared.rows
        self._groups = None if shared is None else shared.groups
        self._clocks = clocks
        self._path = path
        self._segments = segments
        self.counts = LogServiceCounts()
        self._commits = Commits(path, durable=durable)
        files = SegmentFiles(segments)
        self._reader = Reader(path)
        self._files = files
        self.metadata = Metadata(self._commits, clocks.wall, self._forget)
        self._consumers = ConsumerGroups(self.metadata, self._commits, self._reader, clocks)
        self.reader_cursors = ReaderCursors(self.metadata, self._commits, self._reader, clocks.wall)
        self._sealer = Sealer(path, files, self._commits, clocks)
        self._queries = Queries(path, segments, clocks, processes, self._damaged, self.counts.queries)
        self._queries_are_expected = False
        self._retention = Retention(path, self.metadata, self._commits, files, clocks.wall)
        self._listeners: list[interface.Listener] = []
        self._turns = itertools.count()
        # The store's background tasks, for the caller that keeps them running.
        self.seal = self._sealer.seal
        self.expire = self._retention.expire

    async def open(self) -> None:
        """Raises `ConfigurationError` if the file cannot be used."""
        await asyncio.to_thread(self._files.open)
        if self._rows is not None:
            await self._rows.prepare()
        await self._commits.open()
        if self._rows is not None:
            await self._rows.begin(self._commits)
        if self._groups is not None:
            await self._groups.begin(self._commits, self.metadata.all)
        await self._commits.ask(self._load)

    async def seal_for_ever(self) -> None:
        if self._groups is not None:
            # Segments are made from other nodes' groups only once all of them are here.
            await self._groups.settled()
        await self._sealer.run()

    async def close(self) -> None:
        if self._groups is not None:
            await self._groups.close()
        await self._queries.close()
        await self._commits.close()

    async def expect_queries(self) -> None:
        """Keeps a query process ready, as soon as there is an index that a query could use."""
        self._queries_are_expected = True
        if any(known.index is not None for known in self.metadata.all()):
            await self._queries.keep_ready()

    def _load(self, db: sqlite_file.Connection) -> None:
        self.metadata.load(db)
        self._consumers.load(db)
        made = "SELECT logstore, first_group, end_group FROM segments WHERE document IS NOT NULL"
        places = db.execute(made).fetchall()
        broken = [place for place in places if not self._files.is_whole(*place)]
        for place in broken:
            log.warning(
                "a segment of a logstore is missing or cut off, and is made again",
                segment=str(self._files.path(*place)),
            )
        forget_segments(db, broken)

    def _damaged(self, segments: Sequence[tuple[int, int, int]]) -> None:
        self.counts.damaged_segments += len(segments)
        self._sealer.damaged(segments)

    async def kept(self) -> Kept:
        """Raises `PlatformError` if the file does not answer."""
        try:
            return await asyncio.to_thread(kept, self._path, self._segments, self._reader)
        except sqlite_file.Error as error:
            raise PlatformError(f"{self._path} cannot be read: {error}") from error

    def _forget(self, logstore: int) -> None:
        self._consumers.forget(logstore)

    # Projects, logstores, indexes

    async def create_project(self, project: LogProject) -> None:
        await self.metadata.create_project(project)

    async def project(self, name: str) -> LogProject:
        return self.metadata.project(name)

    async def projects(self) -> Sequence[LogProject]:
        return self.metadata.projects()

    async def update_project(self, name: str, description: str) -> None:
        await self.metadata.update_project(name, description)

    async def delete_project(self, name: str) -> None:
        await self.metadata.delete_project(name)

    async def create_logstore(self, logstore: Logstore) -> None:
        await self.metadata.create_logstore(logstore)

    async def logstore(self, project: str, name: str) -> Logstore:
        return self.metadata.known(project, name).logstore

    async def logstores(self, project: str) -> Sequence[Logstore]:
        return self.metadata.logstores(project)

    async def update_logstore(self, logstore: Logstore) -> None:
        await self.metadata.update_logstore(logstore)

    async def delete_logstore(self, project: str, name: str) -> None:
        await self.metadata.delete_logstore(project, name)

    async def create_index(self, project: str, logstore: str, index: LogIndex) -> None:
        await self.metadata.create_index(project, logstore, index)
        if self._queries_are_expected:
            await self._queries.keep_ready()

    async def index(self, project: str, logstore: str) -> LogIndex:
        return self.metadata.index(project, logstore)

    async def update_index(self, project: str, logstore: str, index: LogIndex) -> None:
        await self.metadata.update_index(project, logstore, index)

    async def delete_index(self, project: str, logstore: str) -> None:
        await self.metadata.delete_index(project, logstore)

    # Logs

    async def append(self, project: str, logstore: str, group: LogGroup, *, hash_key: str | None = None) -> None:
        known = self.metadata.known(project, logstore)
        if not group.records:
            return
        if hash_key is not None:
            check_key(hash_key)
        turn, received_s = next(self._turns), int(self._clocks.wall())
        new = encoded(known.id, group, turn, hash_key or "")
        inserted = await self._commits.ask(lambda db: insert(db, [new], received_s))
        if not inserted:
            raise NotFound(LOGSTORE, logstore, (project,))
        self.counts.written_lines += len(group.records)
        self.announce([known])

    def announce(self, written: Sequence[Known]) -> None:
        """Tells the listeners that these logstores got new groups."""
        self._sealer.noticed()
        for known in written:
            for listener in list(self._listeners):
                listener(known.logstore.project, known.logstore.name)

    def written(self, logstores: Sequence[int]) -> None:
        """Called when another process has written to the logstores with these numbers."""
        self.announce([known for known in self.metadata.all() if known.id in logstores])

    async def shards(self, project: str, logstore: str) -> Sequence[interface.Shard]:
        return shards_of(self.metadata.known(project, logstore).logstore)

    async def split_shard(
        self, project: str, logstore: str, shard: int, *, key: str | None = None, count: int = 2
    ) -> Sequence[interface.Shard]:
        return await self.metadata.split_shard(project, logstore, shard, key, count)

    async def merge_shards(self, project: str, logstore: str, shard: int) -> Sequence[interface.Shard]:
        return await self.metadata.merge_shards(project, logstore, shard)

    async def _whole(self) -> None:
        """In a cluster: waits for the logs of other nodes. Raises `StoreUnavailable` if that takes too long."""
        if self._groups is not None:
            await self._groups.whole()

    async def cursor(self, project: str, logstore: str, shard: int, at: Literal["begin", "end"] | int) -> int:
        await self._whole()
        known = self._shard(project, logstore, shard)
        if at == "begin":
            return await asyncio.to_thread(self._reader.begin, known.id, shard)
        if at == "end":
            return await asyncio.to_thread(self._reader.end, known.id, shard)
        return await asyncio.to_thread(self._reader.cursor_at, known.id, shard, at)

    async def cursor_time(self, project: str, logstore: str, shard: int, cursor: int) -> int:
        await self._whole()
        known = self._shard(project, logstore, shard)
        found = await asyncio.to_thread(self._reader.received_at, known.id, shard, cursor)
        return int(self._clocks.wall()) if found is None else found

    async def pull(
        self, project: str, logstore: str, shard: int, cursor: int, count: int, end: int | None = None
    ) -> interface.Pulled:
        await self._whole()
        known = self._shard(project, logstore, shard)
        return await asyncio.to_thread(self._reader.pull, known.id, shard, cursor, count, end)

    async def query(self, project: str, logstore: str, query: interface.Query) -> interface.Result:
        await self._whole()
        return await self._queries.query(self.metadata.known(project, logstore), query)

    async def histogram(self, project: str, logstore: str, query: interface.Query) -> Sequence[interface.Bar]:
        await self._whole()
        return await self._queries.histogram(self.metadata.known(project, logstore), query)

    async def project_sql(self, sql: str) -> tuple[str, str]:
        return await self._queries.project_sql(sql)

    async def context(
        self, project: str, logstore: str, pack_id: str, pack_meta: str, back: int, forward: int
    ) -> interface.Surroundings:
        await self._whole()
        return await self._queries.context(self.metadata.known(project, logstore), pack_id, pack_meta, back, forward)

    async def topics(self, project: str, logstore: str, *, after: str | None, most: int) -> Sequence[str]:
        await self._whole()
        return await asyncio.to_thread(self._reader.topics, self.metadata.known(project, logstore).id, after, most)

    def subscribe(self, listener: interface.Listener) -> Callable[[], None]:
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    def _shard(self, project: str, logstore: str, shard: int) -> Known:
        known = self.metadata.known(project, logstore)
        require_shard(known.logstore, shard)
        return known

    # Consumer groups

    async def create_group(self, project: str, logstore: str, group: interface.ConsumerGroup) -> None:
        await self._consumers.create(project, logstore, group)

    async def update_group(self, project: str, logstore: str, group: interface.ConsumerGroup) -> None:
        await self._consumers.update(project, logstore, group)

    async def delete_group(self, project: str, logstore: str, name: str) -> None:
        await self._consumers.delete(project, logstore, name)

    async def groups(self, project: str, logstore: str) -> Sequence[interface.ConsumerGroup]:
        return self._consumers.list(project, logstore)

    async def heart_beat(
        self, project: str, logstore: str, group: str, consumer: str, held: Sequence[int]
    ) -> Sequence[int]:
        return await self._consumers.heart_beat(project, logstore, group, consumer, held)

    async def checkpoints(self, project: str, logstore: str, group: str) -> Sequence[interface.Checkpoint]:
        return self._consumers.checkpoints(project, logstore, group)

    async def set_checkpoint(
        self,
        project: str,
        logstore: str,
        group: str,
        shard: int,
        cursor: int,
        *,
        consumer: str = "",
        force: bool = True,
    ) -> None:
        checkpoint = interface.Checkpoint(shard, cursor, consumer, 0)
        await self._consumers.set_checkpoint(project, logstore, group, checkpoint, force=force)
