"""Deletes the blobs of objects whose rows are gone: the commit that removes a row also says which blob goes with it.

Used by `store.objects.objects` and `store.objects.multipart`. A crash between commit and deletion loses nothing: the
next start finds the outbox entry. No blob is deleted that the database has not named so, save those that never had a
row. Blobs elsewhere are deleted behind the caller's back, which has been answered when the row was gone.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Collection, Sequence
from itertools import islice

import sqlalchemy as sa
import structlog

from sesame.model.errors import StoreUnavailable
from sesame.store import outbox
from sesame.store.blobs.interface import BlobStore
from sesame.store.sql.database import Database

# So many are deleted before their outbox entries can go.
DELETED_AT_ONCE = 100
# How long a clean stop waits for a store elsewhere; what is left then is deleted after the next start.
STOP_PATIENCE_S = 10.0

log = structlog.get_logger(__name__)


class Removals:
    def __init__(self, database: Database, blobs: BlobStore, wall: Callable[[], float]) -> None:
        self._database = database
        self._blobs = blobs
        self._wall = wall
        # Deleted blobs whose outbox entries are still there. Filled on the loop, emptied on the writer's thread.
        self._done: deque[str] = deque()
        # Of a store elsewhere: what is still to be deleted, and of that what was being read.
        self._waiting: dict[str, None] = {}
        self._read: set[str] = set()
        self._worker: asyncio.Task[None] | None = None

    def note(self, connection: sa.Connection, blobs: Sequence[str]) -> list[str]:
        """In the transaction after which no row mentions `blobs`; returns them without the empty name."""
        named = [blob for blob in blobs if blob]
        outbox.add(connection, outbox.BLOB_REMOVED, named, self._wall())
        self._forget(connection)
        return named

    async def act(self, blobs: Collection[str]) -> None:
        """After the commit: deletes the blobs that `note` returned."""
        await self.drop(blobs)
        if not self._blobs.elsewhere:
            self._done.extend(blobs)

    async def drop(self, blobs: Collection[str]) -> None:
        """Deletes blobs that no row mentions or will mention."""
        if self._blobs.elsewhere:
            self._delete_later(blobs)
        else:
            await self._blobs.delete(blobs)

    async def retry(self) -> None:
        """Deletes what could not be deleted before, and the entries of what has been done."""
        self._delete_later(())
        await self._forget_now()

    async def settled(self) -> None:
        """Returns when nothing is being deleted."""
        if self._worker is not None:
            await asyncio.wait({self._worker})

    async def close(self) -> None:
        """Deletes what it can in bounded time, and the entries of what has been done."""
        self._delete_later(())
        if self._worker is not None:
            _done, late = await asyncio.wait({self._worker}, timeout=STOP_PATIENCE_S)
            for task in late:
                task.cancel()
                await asyncio.wait({task})
        await self._forget_now()

    def _delete_later(self, blobs: Collection[str]) -> None:
        self._waiting.update(dict.fromkeys((*blobs, *self._read)))
        self._read.clear()
        if self._waiting and (self._worker is None or self._worker.done()):
            self._worker = asyncio.create_task(self._delete_waiting())

    async def _delete_waiting(self) -> None:
        """Ends when nothing waits, or when the store fails: the next removal tries again, as does `retry`."""
        while batch := list(islice(self._waiting, DELETED_AT_ONCE)):
            try:
                left = set(await self._blobs.delete(batch))
            except (OSError, StoreUnavailable) as error:
                log.warning("blobs cannot be deleted; trying again later", blobs=len(self._waiting), error=str(error))
                # One that never can be is not to hold up all that come after it.
                for blob in batch:
                    self._waiting.pop(blob, None)
                    self._waiting[blob] = None
                return
            for blob in batch:
                self._waiting.pop(blob, None)
            self._read |= left
            self._done.extend(blob for blob in batch if blob not in left)

    async def _forget_now(self) -> None:
        if self._done:
            await self._database.write(self._forget)

    def _forget(self, connection: sa.Connection) -> None:
        # Should this transaction be undone, the entries stay until the next start, which finds no blob for them.
        done = [self._done.popleft() for _ in range(len(self._done))]
        if done:
            outbox.remove(connection, outbox.BLOB_REMOVED, done)
            if self._blobs.elsewhere:
                outbox.remove(connection, outbox.BLOB_ANNOUNCED, done)
