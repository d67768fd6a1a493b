"""Deletes the files of objects whose rows are gone: the commit that removes a row also says which blob goes with it.

Used by `store.objects.objects` and `store.objects.multipart`. A crash between commit and deletion loses nothing: the
next start finds the outbox entry. No file is deleted that the database has not named so.
"""

from collections import deque
from collections.abc import Callable, Sequence

import sqlalchemy as sa

from sesame.store import outbox
from sesame.store.blobs.interface import BlobStore
from sesame.store.sql.database import Database


class Removals:
    def __init__(self, database: Database, blobs: BlobStore, wall: Callable[[], float]) -> None:
        self._database = database
        self._blobs = blobs
        self._wall = wall
        # Deleted files whose outbox entries are still there. Filled on the loop, emptied on the writer's thread.
        self._done: deque[str] = deque()

    def note(self, connection: sa.Connection, blobs: Sequence[str]) -> list[str]:
        """In the transaction after which no row mentions `blobs`; returns them without the empty name."""
        named = [blob for blob in blobs if blob]
        outbox.add(connection, outbox.BLOB_REMOVED, named, self._wall())
        self._forget(connection)
        return named

    async def act(self, blobs: Sequence[str]) -> None:
        """After the commit: deletes the files that `note` returned."""
        await self._blobs.delete(blobs)
        self._done.extend(blobs)

    async def close(self) -> None:
        """Deletes the entries of what has been done."""
        if self._done:
            await self._database.write(self._forget)

    def _forget(self, connection: sa.Connection) -> None:
        # Should this transaction be undone, the entries stay until the next start, which finds no file for them.
        done = [self._done.popleft() for _ in range(len(self._done))]
        if done:
            outbox.remove(connection, outbox.BLOB_REMOVED, done)
