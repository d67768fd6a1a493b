"""Writes of the server to the file of the logstores: concurrent writes share a transaction.

Used by the parts of `logstores`. A write is answered when it is on the disk.
"""

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol, TypeVar

from sesame.model.errors import PlatformError
from sesame.store.logs.logstores import file
from sesame.store.logs.logstores.interface import StorageFull
from sesame.store.sql import sqlite_file
from sesame.store.sql.group_commit import Done, GroupCommit, Request

T = TypeVar("T")
_Request = Request[sqlite_file.Connection]
_Done = Done[sqlite_file.Connection]


class Agreement(Protocol):
    """The part of `shared_changes.SharedChanges` that is used here."""

    async def write(self, act: Callable[[sqlite_file.Connection], T]) -> T: ...
    async def close(self) -> None: ...


class Commits:
    """Belongs to one event loop; several tasks may call `write` at a time."""

    def __init__(self, path: Path, *, durable: bool) -> None:
        self._path = path
        self._durable = durable
        self._agreement: Agreement | None = None
        self._group = GroupCommit("logstores", self._commit)

    async def open(self) -> None:
        """Raises `ConfigurationError`."""
        self._db = await asyncio.to_thread(file.open_file, self._path, durable=self._durable)
        self._group.open()

    async def close(self) -> None:
        """Returns when all requested writes are done; idempotent."""
        if self._group.is_open:
            if self._agreement is not None:
                await self._agreement.close()
            await self._group.close()
            self._db.close()

    async def write(self, act: Callable[[sqlite_file.Connection], T]) -> T:
        """As `ask`. In a cluster the change goes to the shared database first, which may refuse it."""
        return await (self.ask(act) if self._agreement is None else self._agreement.write(act))

    async def ask(self, act: Callable[[sqlite_file.Connection], T]) -> T:
        """Runs `act` on the thread within a transaction and returns its result once that is committed.

        If `act` raises, only its own changes are rolled back. Raises `PlatformError` if the transaction fails,
        `StorageFull` if the disk is full. Cancelling the caller does not cancel its write. In a cluster, use it only
        for logs and data derived from them, which are shared in another way.
        """
        if not self._group.is_open:
            raise PlatformError("the logstores are closed")
        return await self._group.ask(act)

    def agree_by(self, agreement: Agreement) -> None:
        """From now on `write` uses `agreement`."""
        self._agreement = agreement

    def _commit(self, requests: Sequence[_Request]) -> list[_Done]:
        try:
            with sqlite_file.transaction(self._db):
                return [_attempt(self._db, request) for request in requests]
        except sqlite_file.Error as error:
            kind = StorageFull if sqlite_file.is_full(error) else PlatformError
            failure = kind(f"{self._path} cannot be written: {error}")
            failure.__cause__ = error
            return [Done(request, None, failure) for request in requests]


def _attempt(db: sqlite_file.Connection, request: _Request) -> _Done:
    db.execute("SAVEPOINT one")
    result, failure = None, None
    try:
        result = request.fn(db)
    except sqlite_file.Error:
        raise
    except Exception as error:  # noqa: BLE001 - handed to who asked for the write
        db.execute("ROLLBACK TO one")
        failure = error
    db.execute("RELEASE one")
    return Done(request, result, failure)
