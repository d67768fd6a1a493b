"""The database: one writer thread, whose requests share commits, and a few reader threads.

Opened by `app`; used by every store that keeps rows. A write is answered when its commit is on the disk.
"""

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import sqlalchemy as sa
import structlog

from sesame.model.durations import Durations
from sesame.model.errors import PlatformError
from sesame.store.sql.backends import backend_of
from sesame.store.sql.driver import execute
from sesame.store.sql.group_commit import Done, GroupCommit, Request
from sesame.store.sql.interface import Line

T = TypeVar("T")
_Request = Request[sa.Connection]
_Done = Done[sa.Connection]

READERS = 4
COMMIT_BOUNDS_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)

_SAVEPOINT = "request"

log = structlog.get_logger(__name__)


class _Return(msgspec.Struct, frozen=True):
    read: Callable[[sa.Connection], Any]
    apply: Callable[[Any], None]
    loop: asyncio.AbstractEventLoop


class Database:
    """A path or `sqlite:///PATH`, or `postgresql://…`. Belongs to one process at a time: `open` takes a lock."""

    def __init__(self, place: Path | str, used_by: str = "", *, durable: bool = True, epoch: int = 0) -> None:
        """`used_by` (a data directory) identifies the user of the database. Raises `ConfigurationError` for a bad URL.

        If the file is not `durable`, a power cut may damage it: no commit waits for the disk. With an `epoch`, the
        database is for the writer of a cluster, which commits nothing once a newer epoch has begun to write.
        """
        self._backend = backend_of(place, used_by, durable=durable, epoch=epoch)
        self._group = GroupCommit("sesame-db-writer", self._commit, self._probe, self._backend.probe_every_s)
        self._readers = ThreadPoolExecutor(READERS, thread_name_prefix="sesame-db-reader")
        self._of_thread = threading.local()
        self._reading: list[Line] = []
        self._writing: Line | None = None
        self._returns: list[_Return] = []
        self._connections = 1
        # Counted by the writer's thread: durations of successful commits, failed commits, and requested writes.
        self.commit_durations = Durations(COMMIT_BOUNDS_S)
        self.commits_failed = 0
        self.writes = 0

    @property
    def shown(self) -> str:
        """The database's name in messages, without a password."""
        return self._backend.shown

    async def open(self) -> None:
        """Creates or upgrades the database and starts its writer.

        Raises `ConfigurationError` if another process has it open, if it is newer than this version, or if it
        cannot be used; then nothing is left open.
        """
        try:
            await asyncio.to_thread(self._backend.prepare)
        except BaseException:
            await self.close()
            raise
        self._writing = self._backend.writer()
        self._group.open()

    async def close(self) -> None:
        """Finishes earlier requests, then frees everything; idempotent."""
        await self._group.close()
        await asyncio.to_thread(self._free)

    def on_return(self, read: Callable[[sa.Connection], T], apply: Callable[[T], None]) -> None:
        """Registers a read that is repeated after the writer's connection was lost and reopened.

        `read` runs on the new connection before any other change, `apply` with its result on the running event loop.
        This finds commits whose answer was lost, and commits of another process meanwhile.
        """
        self._returns.append(_Return(read, apply, asyncio.get_running_loop()))

    async def write(self, fn: Callable[[sa.Connection], T], *, on_commit: Callable[[T], None] | None = None) -> T:
        """Runs `fn` on the writer's thread and returns its result once the commit is on the disk.

        If `fn` raises, only its own changes are rolled back, and the exception is raised here. If a commit fails,
        every request in it raises `PlatformError`; so does one whose answer is lost, although it may have been made.
        If the caller is cancelled, its change may or may not happen, but never in part.
        """
        if not self._group.is_open:
            raise PlatformError("the database is closed")
        return await self._group.ask(fn, on_commit)

    async def load(self, fn: Callable[[sa.Connection], T]) -> T:
        """As `read`, for start-up: if the database is damaged, raises `ConfigurationError` with the next step."""
        try:
            return await asyncio.get_running_loop().run_in_executor(
                self._readers, partial(self._read, fn, in_time=False)
            )
        except PlatformError as error:
            raise self._backend.unusable(error.__cause__ or error) from error
        except (sa.exc.DBAPIError, sa.exc.NoResultFound) as error:
            raise self._backend.unusable(error) from error

    async def read(self, fn: Callable[[sa.Connection], T]) -> T:
        """Runs `fn` in a transaction of its own on a reader's thread; it sees one committed state.

        Raises `PlatformError` if the database cannot be reached.
        """
        return await asyncio.get_running_loop().run_in_executor(self._readers, partial(self._read, fn, in_time=True))

    def _read(self, fn: Callable[[sa.Connection], T], *, in_time: bool) -> T:
        line: Line | None = getattr(self._of_thread, "line", None)
        if line is None:
            line = self._of_thread.line = self._backend.reader()
            self._reading.append(line)
        return line.run(fn, in_time=in_time)

    def _free(self) -> None:
        self._readers.shutdown()
        while self._reading:
            self._reading.pop().close()
        if self._writing is not None:
            self._writing.close()
        self._backend.close()

    def _probe(self) -> None:
        """Checks whether an idle connection was lost, and opens another: without a connection the lock is lost."""
        assert self._writing is not None
        try:
            self._writing.run(self._catch_up)
        except (PlatformError, sa.exc.SQLAlchemyError) as error:
            log.error("the database is out of reach; trying again", database=self.shown, error=str(error))

    def _commit(self, batch: Sequence[_Request]) -> list[_Done]:
        """Runs one transaction for all requests, with a savepoint for each."""
        assert self._writing is not None
        began_at = time.perf_counter()
        self.writes += len(batch)
        try:
            done = self._writing.run(lambda connection: self._commit_on(connection, batch))
            self.commit_durations.add(time.perf_counter() - began_at)
            return done
        except Exception as error:  # noqa: BLE001 - every request of the batch must get an answer
            self.commits_failed += 1
            self._writing.drop()
            log.error("a commit failed", database=self.shown, requests=len(batch), error=str(error))
            failure = PlatformError(f"the change could not be committed: {error}")
            failure.__cause__ = error
            return [Done(request, None, failure) for request in batch]

    def _commit_on(self, connection: sa.Connection, batch: Sequence[_Request]) -> list[_Done]:
        self._catch_up(connection)
        with connection.begin() as transaction:
            if len(batch) > 1:
                return [self._run(connection, None, request) for request in batch]
            # A transaction for one request needs no savepoint, which would cost PostgreSQL two round trips.
            return [self._run(connection, transaction, batch[0])]

    def _run(self, connection: sa.Connection, alone: sa.Transaction | None, request: _Request) -> _Done:
        """`alone` is the transaction of a single request; a request among others gets a savepoint."""
        try:
            if alone is None:
                # Through the driver: SQLAlchemy's savepoint costs more than most requests.
                execute(connection, f"SAVEPOINT {_SAVEPOINT}", ())
            result = request.fn(connection)
            if alone is None:
                execute(connection, f"RELEASE SAVEPOINT {_SAVEPOINT}", ())
        except BaseException as error:
            # The caller raises this on the event loop, unless all requests of the transaction failed.
            if self._backend.lost_transaction(connection, error):
                raise PlatformError(f"the database gave up the transaction: {error}") from error
            if alone is None:
                execute(connection, f"ROLLBACK TO SAVEPOINT {_SAVEPOINT}", ())
                execute(connection, f"RELEASE SAVEPOINT {_SAVEPOINT}", ())
            else:
                alone.rollback()
            return Done(request, None, error)
        return Done(request, result, None)

    def _catch_up(self, connection: sa.Connection) -> None:
        """After the connection was reopened, reads changes that memory may lack."""
        assert self._writing is not None
        if self._connections == self._writing.opened:
            return
        for each in self._returns:
            with connection.begin():
                found = each.read(connection)
            with contextlib.suppress(RuntimeError):  # The loop is closed: so is what it would have been applied to.
                each.loop.call_soon_threadsafe(each.apply, found)
        log.warning("the database is reached again", database=self.shown)
        self._connections = self._writing.opened
