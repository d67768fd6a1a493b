"""Writes to the file of the logstores from the server: one thread, and one transaction for all that waits at a time.

Used by the parts of `logstores`. A write is on the disk when its future is done.
"""

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from sesame.model.errors import PlatformError
from sesame.store.logs.logstores import file
from sesame.store.sql import sqlite_file

T = TypeVar("T")
# POLICY: as many writes share a transaction at the most, so that the first of them does not wait long.
TOGETHER_MAX = 256


class _Write:
    __slots__ = ("act", "error", "future", "result")

    def __init__(self, act: Callable[[sqlite_file.Connection], Any], future: "asyncio.Future[Any]") -> None:
        self.act = act
        self.future = future
        self.result: Any = None
        self.error: BaseException | None = None


class Commits:
    """Belongs to one event loop; `write` may be called by many of its tasks at a time."""

    def __init__(self, path: Path, *, durable: bool) -> None:
        self._path = path
        self._durable = durable
        self._waiting: list[_Write] = []
        self._wake = threading.Condition()
        self._closing = False
        self._thread: threading.Thread | None = None

    async def open(self) -> None:
        """Raises `ConfigurationError`."""
        self._db = await asyncio.to_thread(file.open_file, self._path, durable=self._durable)
        self._loop = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._run, name="logstores", daemon=True)
        self._thread.start()

    async def close(self) -> None:
        """Returns when all that was asked for is written; idempotent."""
        if self._thread is None:
            return
        with self._wake:
            self._closing = True
            self._wake.notify()
        thread, self._thread = self._thread, None
        await asyncio.to_thread(thread.join)
        self._db.close()

    async def write(self, act: Callable[[sqlite_file.Connection], T]) -> T:
        """Runs `act` on the thread within a transaction and returns what it returned once that is committed.

        What `act` raises undoes only what `act` did. Raises `PlatformError` when the transaction fails.
        """
        future: asyncio.Future[T] = self._loop.create_future()
        with self._wake:
            if self._closing:
                raise PlatformError("the logstores are closed")
            self._waiting.append(_Write(act, future))
            self._wake.notify()
        # A caller that goes away does not take back what is being written.
        return await asyncio.shield(future)

    def _run(self) -> None:
        while True:
            with self._wake:
                self._wake.wait_for(lambda: self._waiting or self._closing)
                if not self._waiting:
                    return
                writes, self._waiting = self._waiting[:TOGETHER_MAX], self._waiting[TOGETHER_MAX:]
            self._commit(writes)
            self._loop.call_soon_threadsafe(_settle, writes)

    def _commit(self, writes: list[_Write]) -> None:
        db = self._db
        try:
            db.execute("BEGIN IMMEDIATE")
            for write in writes:
                _attempt(db, write)
            db.execute("COMMIT")
        except sqlite_file.Error as error:
            if db.in_transaction:
                db.execute("ROLLBACK")
            failure = PlatformError(f"{self._path} cannot be written: {error}")
            failure.__cause__ = error
            for write in writes:
                write.error = failure


def _attempt(db: sqlite_file.Connection, write: _Write) -> None:
    db.execute("SAVEPOINT one")
    try:
        write.result = write.act(db)
    except sqlite_file.Error:
        raise
    except Exception as error:  # noqa: BLE001 - handed to who asked for the write
        db.execute("ROLLBACK TO one")
        write.error = error
    db.execute("RELEASE one")


def _settle(writes: list[_Write]) -> None:
    for write in writes:
        if write.future.cancelled():
            continue
        if write.error is not None:
            write.future.set_exception(write.error)
        else:
            write.future.set_result(write.result)
