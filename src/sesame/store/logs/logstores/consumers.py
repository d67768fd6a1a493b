"""Consumer groups: which consumer has which shard, and how far each shard has been read.

Used by `logstores`. Groups and checkpoints are durable; the live consumers are not: after a restart every consumer
joins again with its next heartbeat, and keeps the shards that it reports to hold.
"""

import asyncio
from collections.abc import Sequence

import msgspec

from sesame.model.clocks import Clocks
from sesame.model.errors import AlreadyExists, NotFound, TooMany
from sesame.model.logstore import CONSUMER, CONSUMER_GROUP, ShardRange
from sesame.store.logs.logstores.commits import Commits
from sesame.store.logs.logstores.interface import Checkpoint, ConsumerGroup
from sesame.store.logs.logstores.known import Known
from sesame.store.logs.logstores.metadata import Metadata
from sesame.store.logs.logstores.reading import Reader
from sesame.store.logs.logstores.shards import ranges_of, require_shard
from sesame.store.sql import sqlite_file

# POLICY: as many consumers of one group are known at a time; further ones get no shards, like any beyond the number of
# shards.
CONSUMERS_MAX = 1000
# Of one logstore, as in the cloud (its manual of CreateConsumerGroup).
GROUPS_MAX = 30


class Membership:
    """The live consumers of one group. A shard that moves is free only once its holder no longer reports to hold it."""

    def __init__(self) -> None:
        self._seen_s: dict[str, float] = {}
        self._owners: dict[int, str] = {}
        self._leaving: set[int] = set()

    def owner(self, shard: int) -> str:
        return self._owners.get(shard, "")

    def heart_beat(
        self, consumer: str, held: Sequence[int], shards: Sequence[int], now_s: float, timeout_s: float
    ) -> list[int]:
        """Those of these shards that the consumer may read from now on."""
        self._seen_s = {name: at for name, at in self._seen_s.items() if now_s - at <= timeout_s}
        if consumer not in self._seen_s and len(self._seen_s) >= CONSUMERS_MAX:
            return []
        self._seen_s[consumer] = now_s
        holding = set(held) & set(shards)
        for shard, owner in list(self._owners.items()):
            released = owner == consumer and shard in self._leaving and shard not in holding
            if owner not in self._seen_s or released or shard not in shards:
                del self._owners[shard]
                self._leaving.discard(shard)
        for shard in holding:
            self._owners.setdefault(shard, consumer)
        own = sorted(shard for shard, owner in self._owners.items() if owner == consumer)
        own = [shard for shard in own if shard not in self._leaving]
        share = self._share(consumer, len(shards))
        self._leaving.update(own[share:])
        own = own[:share]
        for shard in shards:
            if len(own) < share and shard not in self._owners:
                self._owners[shard] = consumer
                own.append(shard)
        return sorted(own)

    def _share(self, consumer: str, shards: int) -> int:
        each, extra = divmod(shards, len(self._seen_s))
        return each + (sorted(self._seen_s).index(consumer) < extra)


class ConsumerGroups:
    def __init__(self, metadata: Metadata, commits: Commits, reader: Reader, clocks: Clocks) -> None:
        self._metadata = metadata
        self._commits = commits
        self._reader = reader
        self._clocks = clocks
        self._groups: dict[tuple[int, str], ConsumerGroup] = {}
        self._checkpoints: dict[tuple[int, str], dict[int, Checkpoint]] = {}
        self._members: dict[tuple[int, str], Membership] = {}
        self._creates = asyncio.Lock()

    def load(self, db: sqlite_file.Connection) -> None:
        for logstore, name, document in db.execute("SELECT logstore, name, document FROM consumer_groups"):
            self._groups[logstore, name] = msgspec.json.decode(document, type=ConsumerGroup)
        rows = db.execute("SELECT logstore, consumer_group, shard, cursor, consumer, updated_s FROM checkpoints")
        for logstore, name, *fields in rows:
            checkpoint = Checkpoint(*fields)
            self._checkpoints.setdefault((logstore, name), {})[checkpoint.shard] = checkpoint

    def forget(self, logstore: int) -> None:
        """Removes everything about a deleted logstore."""
        for known in (self._groups, self._checkpoints, self._members):
            for key in [key for key in known if key[0] == logstore]:
                del known[key]

    async def create(self, project: str, logstore: str, group: ConsumerGroup) -> None:
        """One at a time, so that none is overlooked that is being written. Raises `TooMany` beyond GROUPS_MAX."""
        async with self._creates:
            known = self._metadata.known(project, logstore)
            if (known.id, group.name) in self._groups:
                raise AlreadyExists(CONSUMER_GROUP, group.name, (project, logstore))
            present = sum(1 for owner, _name in self._groups if owner == known.id)
            if present >= GROUPS_MAX:
                raise TooMany(CONSUMER_GROUP, GROUPS_MAX, present + 1)
            await self._put(known, group)

    async def update(self, project: str, logstore: str, group: ConsumerGroup) -> None:
        self._find(project, logstore, group.name)
        await self._put(self._metadata.known(project, logstore), group)

    async def delete(self, project: str, logstore: str, name: str) -> None:
        known, _group = self._find(project, logstore, name)

        def act(db: sqlite_file.Connection) -> None:
            db.execute("DELETE FROM consumer_groups WHERE logstore = ? AND name = ?", (known.id, name))
            db.execute("DELETE FROM checkpoints WHERE logstore = ? AND consumer_group = ?", (known.id, name))

        await self._commits.write(act)
        for kept in (self._groups, self._checkpoints, self._members):
            kept.pop((known.id, name), None)

    def list(self, project: str, logstore: str) -> Sequence[ConsumerGroup]:
        known = self._metadata.known(project, logstore)
        return [group for key, group in sorted(self._groups.items()) if key[0] == known.id]

    async def heart_beat(
        self, project: str, logstore: str, name: str, consumer: str, held: Sequence[int]
    ) -> Sequence[int]:
        known, group = self._find(project, logstore, name)
        shards: Sequence[int] = [each.id for each in ranges_of(known.logstore)]
        if group.in_order and known.logstore.layout:
            shards = await asyncio.to_thread(self._in_order, known, self._cursors(known, name))
        members = self._members.setdefault((known.id, name), Membership())
        return members.heart_beat(consumer, held, shards, self._clocks.monotonic(), group.timeout_s)

    def _in_order(self, known: Known, cursors: dict[int, int]) -> Sequence[int]:
        """The shards whose parents have been read to their ends; blocks."""
        shards = ranges_of(known.logstore)
        closed = {each.id: cursors.get(each.id, 0) for each in shards if each.closed_s}
        unread = self._reader.unread(known.id, closed)
        return [each.id for each in shards if unread.isdisjoint(_ancestors(shards, each))]

    def _cursors(self, known: Known, name: str) -> dict[int, int]:
        kept = self._checkpoints.get((known.id, name), {})
        return {shard: each.cursor for shard, each in kept.items() if each.cursor is not None}

    def checkpoints(self, project: str, logstore: str, name: str) -> Sequence[Checkpoint]:
        known, _group = self._find(project, logstore, name)
        kept = self._checkpoints.get((known.id, name), {})
        return [kept.get(each.id, Checkpoint(each.id, None, "", 0)) for each in ranges_of(known.logstore)]

    async def set_checkpoint(
        self, project: str, logstore: str, name: str, checkpoint: Checkpoint, *, force: bool
    ) -> None:
        known, _group = self._find(project, logstore, name)
        require_shard(known.logstore, checkpoint.shard)
        members = self._members.get((known.id, name))
        owner = members.owner(checkpoint.shard) if members is not None else ""
        if not force and owner != checkpoint.consumer:
            raise NotFound(CONSUMER, checkpoint.consumer, (project, logstore, name))
        checkpoint = msgspec.structs.replace(checkpoint, updated_s=int(self._clocks.wall()))
        row = (known.id, name, checkpoint.shard, checkpoint.cursor, checkpoint.consumer, checkpoint.updated_s)

        def act(db: sqlite_file.Connection) -> None:
            db.execute("INSERT OR REPLACE INTO checkpoints VALUES (?, ?, ?, ?, ?, ?)", row)

        await self._commits.write(act)
        if (known.id, name) in self._groups:
            self._checkpoints.setdefault((known.id, name), {})[checkpoint.shard] = checkpoint

    def _find(self, project: str, logstore: str, name: str) -> tuple[Known, ConsumerGroup]:
        known = self._metadata.known(project, logstore)
        group = self._groups.get((known.id, name))
        if group is None:
            raise NotFound(CONSUMER_GROUP, name, (project, logstore))
        return known, group

    async def _put(self, known: Known, group: ConsumerGroup) -> None:
        row = (known.id, group.name, msgspec.json.encode(group))

        def act(db: sqlite_file.Connection) -> None:
            db.execute("INSERT OR REPLACE INTO consumer_groups VALUES (?, ?, ?)", row)

        await self._commits.write(act)
        self._groups[known.id, group.name] = group


def _ancestors(shards: Sequence[ShardRange], shard: ShardRange) -> set[int]:
    """The existing shards from which this one was split or merged."""
    found: set[int] = set()
    # Parents have lower numbers than their children.
    wanted = set(shard.parents)
    for each in reversed(shards):
        if each.id in wanted:
            found.add(each.id)
            wanted.update(each.parents)
    return found
