"""A store of the Log Service in memory, for tests of the endpoint's wire forms: it searches for words in values.

Keeps what `store.logs.logstores.interface` says of the calls that the tests make.
"""

import time
from collections.abc import Callable, Sequence
from typing import Literal

import msgspec

from sesame.model.errors import AlreadyExists, Invalid, NotFound
from sesame.model.logstore import (
    CONSUMER_GROUP,
    LOG_INDEX,
    LOG_PROJECT,
    LOG_SHARD,
    LOGSTORE,
    LogGroup,
    LogIndex,
    LogProject,
    Logstore,
)
from sesame.store.logs.logstores.interface import (
    Bar,
    Checkpoint,
    ConsumerGroup,
    Listener,
    Pulled,
    Query,
    Result,
    Shard,
    Surroundings,
)


class Kept:
    """One logstore."""

    def __init__(self, logstore: Logstore) -> None:
        self.logstore = logstore
        self.index: LogIndex | None = None
        self.shards: list[list[LogGroup]] = [[] for _ in range(logstore.shards)]
        self.groups: dict[str, ConsumerGroup] = {}
        self.checkpoints: dict[tuple[str, int], Checkpoint] = {}

    def rows(self, query: Query) -> list[dict[str, str]]:
        searched = query.text.partition("|")[0].strip()
        words = [] if searched in ("", "*") else [searched]
        rows = [
            {
                "__time__": str(record.time_s),
                "__source__": group.source,
                "__topic__": group.topic,
                **{f"__tag__:{key}": value for key, value in group.tags},
                **dict(record.contents),
            }
            for shard in self.shards
            for group in shard
            for record in group.records
            if query.from_s <= record.time_s < query.to_s and query.topic in ("", group.topic)
        ]
        found = [row for row in rows if all(any(word in value for value in row.values()) for word in words)]
        return found[::-1] if query.reverse else found


class FakeStore:
    def __init__(self) -> None:
        self._projects: dict[str, LogProject] = {}
        self._kept: dict[tuple[str, str], Kept] = {}

    def kept(self, project: str, name: str) -> Kept:
        if project not in self._projects:
            raise NotFound(LOG_PROJECT, project)
        if (project, name) not in self._kept:
            raise NotFound(LOGSTORE, name, (project,))
        return self._kept[project, name]

    async def create_project(self, project: LogProject) -> None:
        if project.name in self._projects:
            raise AlreadyExists(LOG_PROJECT, project.name)
        now = int(time.time())
        self._projects[project.name] = msgspec.structs.replace(project, created_s=now, modified_s=now)

    async def project(self, name: str) -> LogProject:
        if name not in self._projects:
            raise NotFound(LOG_PROJECT, name)
        return self._projects[name]

    async def projects(self) -> Sequence[LogProject]:
        return [self._projects[name] for name in sorted(self._projects)]

    async def update_project(self, name: str, description: str) -> None:
        self._projects[name] = msgspec.structs.replace(await self.project(name), description=description)

    async def delete_project(self, name: str) -> None:
        del self._projects[(await self.project(name)).name]
        self._kept = {key: kept for key, kept in self._kept.items() if key[0] != name}

    async def create_logstore(self, logstore: Logstore) -> None:
        await self.project(logstore.project)
        key = (logstore.project, logstore.name)
        if key in self._kept:
            raise AlreadyExists(LOGSTORE, logstore.name)
        self._kept[key] = Kept(logstore)

    async def logstore(self, project: str, name: str) -> Logstore:
        return self.kept(project, name).logstore

    async def logstores(self, project: str) -> Sequence[Logstore]:
        await self.project(project)
        return [kept.logstore for key, kept in sorted(self._kept.items()) if key[0] == project]

    async def update_logstore(self, logstore: Logstore) -> None:
        self.kept(logstore.project, logstore.name).logstore = logstore

    async def delete_logstore(self, project: str, name: str) -> None:
        self.kept(project, name)
        del self._kept[project, name]

    async def create_index(self, project: str, logstore: str, index: LogIndex) -> None:
        kept = self.kept(project, logstore)
        if kept.index is not None:
            raise AlreadyExists(LOG_INDEX, logstore)
        kept.index = index

    async def index(self, project: str, logstore: str) -> LogIndex:
        kept = self.kept(project, logstore)
        if kept.index is None:
            raise NotFound(LOG_INDEX, logstore)
        return kept.index

    async def update_index(self, project: str, logstore: str, index: LogIndex) -> None:
        await self.index(project, logstore)
        self.kept(project, logstore).index = index

    async def delete_index(self, project: str, logstore: str) -> None:
        await self.index(project, logstore)
        self.kept(project, logstore).index = None

    async def create_group(self, project: str, logstore: str, group: ConsumerGroup) -> None:
        groups = self.kept(project, logstore).groups
        if group.name in groups:
            raise AlreadyExists(CONSUMER_GROUP, group.name)
        groups[group.name] = group

    def _group(self, project: str, logstore: str, name: str) -> Kept:
        kept = self.kept(project, logstore)
        if name not in kept.groups:
            raise NotFound(CONSUMER_GROUP, name)
        return kept

    async def update_group(self, project: str, logstore: str, group: ConsumerGroup) -> None:
        self._group(project, logstore, group.name).groups[group.name] = group

    async def delete_group(self, project: str, logstore: str, name: str) -> None:
        del self._group(project, logstore, name).groups[name]

    async def groups(self, project: str, logstore: str) -> Sequence[ConsumerGroup]:
        return list(self.kept(project, logstore).groups.values())

    async def heart_beat(
        self, project: str, logstore: str, group: str, consumer: str, held: Sequence[int]
    ) -> Sequence[int]:
        return range(len(self._group(project, logstore, group).shards))

    async def checkpoints(self, project: str, logstore: str, group: str) -> Sequence[Checkpoint]:
        kept = self._group(project, logstore, group)
        return [
            kept.checkpoints.get((group, shard), Checkpoint(shard, None, "", 0)) for shard in range(len(kept.shards))
        ]

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
        kept = self._group(project, logstore, group)
        kept.checkpoints[group, shard] = Checkpoint(shard, cursor, consumer, int(time.time()))

    async def append(self, project: str, logstore: str, group: LogGroup, *, hash_key: str | None = None) -> None:
        shards = self.kept(project, logstore).shards
        at = int(hash_key, 16) * len(shards) >> 128 if hash_key else 0
        shards[at].append(group)

    async def shards(self, project: str, logstore: str) -> Sequence[Shard]:
        kept = self.kept(project, logstore)
        step = (1 << 128) // len(kept.shards)
        ends = [f"{min(at * step, (1 << 128) - 1):032x}" for at in range(len(kept.shards) + 1)]
        return [Shard(at, "readwrite", ends[at], ends[at + 1], 1) for at in range(len(kept.shards))]

    def _shard(self, project: str, logstore: str, shard: int) -> list[LogGroup]:
        shards = self.kept(project, logstore).shards
        if shard >= len(shards):
            raise NotFound(LOG_SHARD, str(shard))
        return shards[shard]

    async def cursor(self, project: str, logstore: str, shard: int, at: Literal["begin", "end"] | int) -> int:
        groups = self._shard(project, logstore, shard)
        return len(groups) if at == "end" or (isinstance(at, int) and at > time.time()) else 0

    async def cursor_time(self, project: str, logstore: str, shard: int, cursor: int) -> int:
        if cursor > len(self._shard(project, logstore, shard)):
            raise Invalid("cursor", "one of the shard", cursor)
        return int(time.time())

    async def pull(
        self, project: str, logstore: str, shard: int, cursor: int, count: int, end: int | None = None
    ) -> Pulled:
        groups = self._shard(project, logstore, shard)
        until = min(cursor + count, len(groups) if end is None else end)
        return Pulled(tuple(groups[cursor:until]), until)

    async def query(self, project: str, logstore: str, query: Query) -> Result:
        rows = self.kept(project, logstore).rows(query)
        search, _bar, sql = query.text.partition("|")
        columns = tuple(dict.fromkeys(key for row in rows for key in row))
        page = rows[query.offset : query.offset + query.line]
        return Result(tuple(page), columns, bool(sql), True, len(rows), search.strip(), sql.strip(), 1)

    async def histogram(self, project: str, logstore: str, query: Query) -> Sequence[Bar]:
        return [Bar(query.from_s, query.to_s, len(self.kept(project, logstore).rows(query)))]

    async def topics(self, project: str, logstore: str) -> Sequence[str]:
        return [group.topic for shard in self.kept(project, logstore).shards for group in shard]

    async def context(
        self, project: str, logstore: str, pack_id: str, pack_meta: str, back: int, forward: int
    ) -> Surroundings:
        if pack_id != "one":
            raise Invalid("pack_id", "that of a row", pack_id)
        rows = self.kept(project, logstore).rows(Query("", 0, 2**32))
        return Surroundings(tuple(rows), 1, len(rows) - 2)

    def subscribe(self, listener: Listener) -> Callable[[], None]:
        raise NotImplementedError
