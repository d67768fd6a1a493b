"""Deletes expired logs, and the remains of deleted logstores, a little at a time.

Run by `app` in the background.
"""

import asyncio
import functools
from collections.abc import Callable
from pathlib import Path

from sesame.model.logstore import TTL_FOREVER_DAYS
from sesame.store.logs.logstores.commits import Commits
from sesame.store.logs.logstores.file import recount_tail
from sesame.store.logs.logstores.metadata import Metadata
from sesame.store.logs.logstores.reading import Reader
from sesame.store.logs.logstores.segment_files import SegmentFiles
from sesame.store.sql import sqlite_file

DAY_S = 86_400
# One transaction deletes this many groups, so that no write waits long.
GROUPS_TOGETHER = 200


class Retention:
    """`wall` returns Unix seconds."""

    def __init__(
        self, path: Path, metadata: Metadata, commits: Commits, files: SegmentFiles, wall: Callable[[], float]
    ) -> None:
        self._reader = Reader(path)
        self._metadata = metadata
        self._commits = commits
        self._files = files
        self._wall = wall

    async def expire(self) -> None:
        """On return no expired log is left."""
        for known in self._metadata.all():
            ttl_days = known.logstore.ttl_days
            if 0 < ttl_days < TTL_FOREVER_DAYS:
                before_s = int(self._wall()) - ttl_days * DAY_S
                await self._delete(known.id, before_s)
                await self._metadata.forget_shards(known, before_s)
        for logstore in await asyncio.to_thread(self._gone):
            await self._delete(logstore, None)
            await self._commits.ask(functools.partial(_forget, logstore))
        await asyncio.to_thread(self._sweep)

    async def _delete(self, logstore: int, before_s: int | None) -> None:
        """Deletes everything received before `before_s`, or everything."""
        while await self._commits.ask(lambda db: delete_some(db, logstore, before_s)):
            pass

    def _gone(self) -> list[int]:
        with self._reader.connection() as db:
            return [row[0] for row in db.execute("SELECT logstore FROM gone")]

    def _sweep(self) -> None:
        with self._reader.connection() as db:
            rows = db.execute("SELECT logstore, first_group, end_group FROM segments").fetchall()
        self._files.sweep({self._files.path(*row) for row in rows})


def delete_some(db: sqlite_file.Connection, logstore: int, before_s: int | None) -> bool:
    """Within a transaction; False if there was nothing to delete."""
    oldest = db.execute(
        "SELECT number, received_s FROM groups WHERE logstore = ? ORDER BY number LIMIT ?", (logstore, GROUPS_TOGETHER)
    ).fetchall()
    if before_s is not None:
        fresh = next((n for n, (_number, received_s) in enumerate(oldest) if received_s >= before_s), len(oldest))
        oldest = oldest[:fresh]
    if not oldest:
        return False
    end = oldest[-1][0] + 1
    db.execute("DELETE FROM groups WHERE logstore = ? AND number < ?", (logstore, end))
    db.execute("DELETE FROM segments WHERE logstore = ? AND end_group <= ?", (logstore, end))
    db.execute("UPDATE logstores SET sealed = max(sealed, ?) WHERE id = ?", (end, logstore))
    recount_tail(db, logstore)
    return True


def _forget(logstore: int, db: sqlite_file.Connection) -> None:
    db.execute("DELETE FROM segments WHERE logstore = ?", (logstore,))
    db.execute("DELETE FROM gone WHERE logstore = ?", (logstore,))
