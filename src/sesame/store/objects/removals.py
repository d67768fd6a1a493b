"""Deletes the blobs of objects whose rows are gone: the commit that removes a row also names the blob in the outbox.

Used by `store.objects.objects` and `store.objects.multipart`. A crash between commit and deletion loses nothing: the
next start finds the outbox entry. Only blobs that are named in this way, or that never had a row, are deleted. Remote
blobs are deleted in the background: the caller gets its answer once the row is gone.
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

# Remote blobs are deleted in batches of this size, whose outbox entries can then be removed.
DELETED_AT_ONCE = 100
# How long a clean stop waits for a remote store; the next start deletes the rest.
STOP_PATIENCE_S = 10.0

log = structlog.get_logger(__name__)


class Removals:
    def __init__(self, database: Database, blobs: BlobStore, wall: Callable[[], float]) -> None:
        self._database = database
        self._blobs = blobs
        self._wall = wall
        # Deleted blobs that still have outbox entries. Filled on the loop, emptied on the writer's thread.
        self._done: deque[str] = deque()
        # For a remote store: blobs still to be deleted, and those of them that were being read.
        self._waiting: dict[str, None] = {}
        self._read: set[str] = set()
        self._worker: asyncio.Task[None] | None = None

    def note(self, connection: sa.Connection, blobs: Sequence[str]) -> list[str]:
        """Call in the transaction after which no row mentions `blobs`; returns them without the empty name."""
        named = [blob for blob in blobs if blob]
        outbox.add(connection, outbox.BLOB_REMOVED, named, self._wall())
        self._forget(connection)
        return named

    async def act(self, blobs: Collection[str]) -> None:
        """Call after the commit: deletes the blobs that `note` returned."""
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
        """Deletes blobs that could not be deleted before, and the entries of deleted ones."""
        self._delete_later(())
        await self._forget_now()

    async def settled(self) -> None:
        """Returns when no deletion is running."""
        if self._worker is not None:
            await asyncio.wait({self._worker})

    async def close(self) -> None:
        """Deletes what it can in limited time, and the entries of deleted blobs."""
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
        """Ends when nothing waits, or when the store fails: the next removal, or `retry`, tries again."""
        while batch := list(islice(self._waiting, DELETED_AT_ONCE)):
            try:
                left = set(await self._blobs.delete(batch))
            except (OSError, StoreUnavailable) as error:
                log.warning("blobs cannot be deleted; trying again later", blobs=len(self._waiting), error=str(error))
                # A blob that can never be deleted must not delay all later ones.
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
        # If this transaction is rolled back, the entries stay until the next start, which finds no blob for them.
        done = [self._done.popleft() for _ in range(len(self._done))]
        if done:
            outbox.remove(connection, outbox.BLOB_REMOVED, done)
            if self._blobs.elsewhere:
                outbox.remove(connection, outbox.BLOB_ANNOUNCED, done)
