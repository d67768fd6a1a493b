"""How far readers other than consumer groups, such as log triggers, have read each shard. Durable.

Used by `triggers.log_arrivals` through `store`. The names of readers have a prefix that no new consumer group may have.
"""

import asyncio
from collections.abc import Callable, Collection, Mapping

from sesame.store.logs.logstores.commits import Commits
from sesame.store.logs.logstores.metadata import Metadata
from sesame.store.logs.logstores.reading import Reader
from sesame.store.sql import sqlite_file

# Prefix of readers' names, because they share a table with consumer groups.
READERS = "trigger:"


class ReaderCursors:
    """`wall` returns Unix seconds."""

    def __init__(self, metadata: Metadata, commits: Commits, reader: Reader, wall: Callable[[], float]) -> None:
        self._metadata = metadata
        self._commits = commits
        self._reader = reader
        self._wall = wall

    async def get(self, project: str, logstore: str, name: str) -> Mapping[int, int]:
        """By shard; a shard that the reader has not started is absent. Raises `NotFound`."""
        known = self._metadata.known(project, logstore)

        def read() -> dict[int, int]:
            with self._reader.connection() as db:
                rows = db.execute(
                    "SELECT shard, cursor FROM checkpoints WHERE logstore = ? AND consumer_group = ?", (known.id, name)
                )
                return dict(rows.fetchall())

        return await asyncio.to_thread(read)

    async def set(self, project: str, logstore: str, name: str, cursors: Mapping[int, int]) -> None:
        known = self._metadata.known(project, logstore)
        now_s = int(self._wall())
        rows = [(known.id, name, shard, cursor, "", now_s) for shard, cursor in cursors.items()]

        def act(db: sqlite_file.Connection) -> None:
            db.executemany("INSERT OR REPLACE INTO checkpoints VALUES (?, ?, ?, ?, ?, ?)", rows)

        await self._commits.write(act)

    async def forget_others(self, names: Collection[str]) -> None:
        """Deletes the cursors of all readers except those named."""

        def act(db: sqlite_file.Connection) -> None:
            found = db.execute(
                "SELECT DISTINCT logstore, consumer_group FROM checkpoints "
                "WHERE consumer_group LIKE ? AND NOT EXISTS (SELECT 1 FROM consumer_groups "
                "WHERE consumer_groups.logstore = checkpoints.logstore AND name = consumer_group)",
                (f"{READERS}%",),
            ).fetchall()
            stale = [row for row in found if row[1] not in names]
            db.executemany("DELETE FROM checkpoints WHERE logstore = ? AND consumer_group = ?", stale)

        await self._commits.write(act)
