"""Projects, logstores and indexes: kept in memory, and written to the disk before a change becomes visible.

Used by `logstores.LogStorage`, which adds the operations on logs.
"""

import copy
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from sesame.model.errors import AlreadyExists, NotFound
from sesame.model.logstore import LOG_INDEX, LOG_PROJECT, LOGSTORE, LogIndex, LogProject, Logstore
from sesame.store.logs.logstores import shards
from sesame.store.logs.logstores.commits import Commits
from sesame.store.logs.logstores.file import delete_logstore
from sesame.store.logs.logstores.interface import Shard
from sesame.store.logs.logstores.known import Known
from sesame.store.sql import sqlite_file

_encode = msgspec.json.encode


class Metadata:
    """`deleted(id)` is called for each deleted logstore. `wall` returns Unix seconds."""

    def __init__(self, commits: Commits, wall: Callable[[], float], deleted: Callable[[int], None]) -> None:
        self._commits = commits
        self._wall = wall
        self._deleted = deleted
        self._projects: dict[str, LogProject] = {}
        self._logstores: dict[tuple[str, str], Known] = {}

    def load(self, db: sqlite_file.Connection) -> None:
        """Call once, before anything else."""
        for (document,) in db.execute("SELECT document FROM projects"):
            project = msgspec.json.decode(document, type=LogProject)
            self._projects[project.name] = project
        for number, document, index in db.execute("SELECT id, document, log_index FROM logstores"):
            logstore = msgspec.json.decode(document, type=Logstore)
            found = msgspec.json.decode(index, type=LogIndex) if index is not None else None
            self._logstores[logstore.project, logstore.name] = Known(number, logstore, found)

    def known(self, project: str, logstore: str) -> Known:
        found = self._logstores.get((project, logstore))
        if found is None:
            self.project(project)
            raise NotFound(LOGSTORE, logstore, (project,))
        return found

    def all(self) -> Sequence[Known]:
        return tuple(self._logstores.values())

    def project(self, name: str) -> LogProject:
        found = self._projects.get(name)
        if found is None:
            raise NotFound(LOG_PROJECT, name)
        return found

    def projects(self) -> list[LogProject]:
        return [self._projects[name] for name in sorted(self._projects)]

    def logstores(self, project: str) -> list[Logstore]:
        self.project(project)
        return [known.logstore for key, known in sorted(self._logstores.items()) if key[0] == project]

    async def create_project(self, project: LogProject) -> None:
        project = msgspec.structs.replace(project, created_s=self._now(), modified_s=self._now())

        def act(db: sqlite_file.Connection) -> None:
            if db.execute("SELECT 1 FROM projects WHERE name = ?", (project.name,)).fetchone():
                raise AlreadyExists(LOG_PROJECT, project.name)
            db.execute("INSERT INTO projects (name, document) VALUES (?, ?)", (project.name, _encode(project)))

        await self._commits.write(act)
        self._projects[project.name] = project

    async def update_project(self, name: str, description: str) -> None:
        changed = msgspec.structs.replace(self.project(name), description=description, modified_s=self._now())

        def act(db: sqlite_file.Connection) -> None:
            done = db.execute("UPDATE projects SET document = ? WHERE name = ?", (_encode(changed), name))
            if not done.rowcount:
                raise NotFound(LOG_PROJECT, name)

        await self._commits.write(act)
        self._projects[name] = changed

    async def delete_project(self, name: str) -> None:
        self.project(name)

        def act(db: sqlite_file.Connection) -> list[int]:
            if not db.execute("DELETE FROM projects WHERE name = ?", (name,)).rowcount:
                raise NotFound(LOG_PROJECT, name)
            deleted = [row[0] for row in db.execute("SELECT id FROM logstores WHERE project = ?", (name,)).fetchall()]
            for logstore in deleted:
                delete_logstore(db, logstore)
            return deleted

        deleted = await self._commits.write(act)
        self._projects.pop(name, None)
        self._logstores = {key: known for key, known in self._logstores.items() if known.id not in deleted}
        for logstore in deleted:
            self._deleted(logstore)

    async def create_logstore(self, logstore: Logstore) -> None:
        self.project(logstore.project)
        logstore = msgspec.structs.replace(
            logstore, created_s=self._now(), modified_s=self._now(), options=copy.deepcopy(logstore.options)
        )
        place = (logstore.project, logstore.name)

        def act(db: sqlite_file.Connection) -> int:
            if not db.execute("SELECT 1 FROM projects WHERE name = ?", (logstore.project,)).fetchone():
                raise NotFound(LOG_PROJECT, logstore.project)
            if db.execute("SELECT 1 FROM logstores WHERE project = ? AND name = ?", place).fetchone():
                raise AlreadyExists(LOGSTORE, logstore.name, (logstore.project,))
            made = db.execute(
                "INSERT INTO logstores (project, name, document) VALUES (?, ?, ?)", (*place, _encode(logstore))
            )
            assert made.lastrowid is not None
            return made.lastrowid

        self._logstores[place] = Known(await self._commits.write(act), logstore)

    async def update_logstore(self, logstore: Logstore) -> None:
        options, now_s = copy.deepcopy(logstore.options), self._now()

        def change(former: Logstore) -> Logstore:
            return msgspec.structs.replace(former, ttl_days=logstore.ttl_days, options=options, modified_s=now_s)

        await self._change(self.known(logstore.project, logstore.name), change)

    async def split_shard(
        self, project: str, logstore: str, shard: int, key: str | None, count: int
    ) -> Sequence[Shard]:
        """As `interface.Logstores`."""
        now_s = self._now()

        def change(former: Logstore) -> Logstore:
            keys = shards.middles(former, shard, count) if key is None else [key]
            return shards.split(former, shard, keys, now_s)

        changed = await self._change(self.known(project, logstore), change)
        made = {each.id for each in changed.layout if shard in each.parents}
        return [each for each in shards.shards_of(changed) if each.id == shard or each.id in made]

    async def merge_shards(self, project: str, logstore: str, shard: int) -> Sequence[Shard]:
        """As `interface.Logstores`."""
        now_s = self._now()
        changed = await self._change(self.known(project, logstore), lambda former: shards.merge(former, shard, now_s))
        made = next(each for each in changed.layout if shard in each.parents)
        return [each for each in reversed(shards.shards_of(changed)) if each.id in (made.id, *made.parents)]

    async def forget_shards(self, known: Known, before_s: int) -> None:
        """Deletes shards closed before that (Unix seconds), with consumers' records about them."""
        expired = [each.id for each in known.logstore.layout if 0 < each.closed_s < before_s]
        if not expired:
            return
        await self._change(known, lambda former: shards.without_expired(former, before_s))

        def act(db: sqlite_file.Connection) -> None:
            rows = [(known.id, shard) for shard in expired]
            db.executemany("DELETE FROM checkpoints WHERE logstore = ? AND shard = ?", rows)

        await self._commits.write(act)

    async def delete_logstore(self, project: str, name: str) -> None:
        known = self.known(project, name)
        await self._commits.write(lambda db: delete_logstore(db, known.id))
        if self._logstores.get((project, name)) == known:
            del self._logstores[project, name]
        self._deleted(known.id)

    def index(self, project: str, logstore: str) -> LogIndex:
        index = self.known(project, logstore).index
        if index is None:
            raise NotFound(LOG_INDEX, logstore, (project,))
        return index

    async def create_index(self, project: str, logstore: str, index: LogIndex) -> None:
        known = self.known(project, logstore)
        if known.index is not None:
            raise AlreadyExists(LOG_INDEX, logstore, (project,))
        await self._set_index(known, index)

    async def update_index(self, project: str, logstore: str, index: LogIndex) -> None:
        self.index(project, logstore)
        await self._set_index(self.known(project, logstore), index)

    async def delete_index(self, project: str, logstore: str) -> None:
        self.index(project, logstore)
        known = self.known(project, logstore)
        await self._set(known, "log_index", None)
        self._replace(known, index=None)

    async def _set_index(self, known: Known, index: LogIndex) -> None:
        index = msgspec.structs.replace(index, modified_s=self._now())
        await self._set(known, "log_index", _encode(index))
        self._replace(known, index=index)

    async def _change(self, known: Known, change: Callable[[Logstore], Logstore]) -> Logstore:
        """Changes the stored document in one transaction, so that concurrent changes do not overwrite each other.

        `change` must depend only on its argument, because it runs twice in a cluster.
        """
        name = known.logstore.name

        def act(db: sqlite_file.Connection) -> Logstore:
            found = db.execute("SELECT document FROM logstores WHERE id = ?", (known.id,)).fetchone()
            if found is None:
                raise NotFound(LOGSTORE, name, (known.logstore.project,))
            changed = change(msgspec.json.decode(found[0], type=Logstore))
            db.execute("UPDATE logstores SET document = ? WHERE id = ?", (_encode(changed), known.id))
            return changed

        changed = await self._commits.write(act)
        self._replace(known, logstore=changed)
        return changed

    async def _set(self, known: Known, column: str, value: bytes | None) -> None:
        logstore = known.logstore

        def act(db: sqlite_file.Connection) -> None:
            if not db.execute(f"UPDATE logstores SET {column} = ? WHERE id = ?", (value, known.id)).rowcount:
                raise NotFound(LOGSTORE, logstore.name, (logstore.project,))

        await self._commits.write(act)

    def _replace(self, known: Known, **changes: Any) -> None:
        """Changes memory, unless the logstore was deleted or created again meanwhile."""
        place = (known.logstore.project, known.logstore.name)
        now = self._logstores.get(place)
        if now is not None and now.id == known.id:
            self._logstores[place] = msgspec.structs.replace(now, **changes)

    def _now(self) -> int:
        return int(self._wall())
