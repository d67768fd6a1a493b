"""The database: one writer thread, whose requests share commits, and a few reader threads.

Opened by `app`; used by every store that keeps rows. A write is answered when its commit is on the disk.
"""

import asyncio
import fcntl
import os
import queue
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import sqlalchemy as sa
import structlog

from sesame.model.errors import ConfigurationError, PlatformError
from sesame.store.durable import make_folder, sync_folder
from sesame.store.sql import sqlite
from sesame.store.sql.lost_database import damaged

T = TypeVar("T")

READERS = 4
# POLICY: how many requests may share one commit; bounds how long the first of them waits for the others.
REQUESTS_PER_COMMIT = 256

MIGRATIONS = Path(__file__).with_name("migrations")

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class _Request:
    """One caller's change. `on_commit` runs on the event loop, in order of commit, before the caller continues."""

    fn: Callable[[sa.Connection], Any]
    on_commit: Callable[[Any], None] | None
    loop: asyncio.AbstractEventLoop
    future: "asyncio.Future[Any]"


@dataclass(frozen=True)
class _Done:
    request: _Request
    result: Any
    error: BaseException | None


class Database:
    """SQLite in a file, or `sqlite:///…` as a URL. Belongs to one process at a time: `open` takes a lock."""

    def __init__(self, path: Path | str) -> None:
        self._path = _path_of(path)
        self._writer_engine = sqlite.write_engine(self._path)
        self._reader_engine = sqlite.read_engine(self._path, READERS)
        self._requests: queue.SimpleQueue[_Request | None] = queue.SimpleQueue()
        self._readers = ThreadPoolExecutor(READERS, thread_name_prefix="sesame-db-reader")
        self._writer: threading.Thread | None = None
        self._lock: int | None = None

    async def open(self) -> None:
        """Creates or upgrades the database and starts its writer.

        Raises `ConfigurationError` when another process has it open, when it is newer than this code, and when it
        cannot be used; then nothing is left open.
        """
        try:
            await asyncio.to_thread(self._prepare)
        except BaseException:
            await self.close()
            raise
        self._writer = threading.Thread(target=self._write_forever, name="sesame-db-writer", daemon=True)
        self._writer.start()

    async def close(self) -> None:
        """Finishes what was asked for before, then frees everything; idempotent."""
        writer, self._writer = self._writer, None
        if writer is not None:
            self._requests.put(None)
            await asyncio.to_thread(writer.join)
        self._readers.shutdown()
        self._reader_engine.dispose()
        self._writer_engine.dispose()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    async def write(self, fn: Callable[[sa.Connection], T], *, on_commit: Callable[[T], None] | None = None) -> T:
        """Runs `fn` on the writer's thread and returns its result once the commit is on the disk.

        An exception of `fn` undoes `fn` alone and is raised here. A commit that fails is `PlatformError` for
        every request in it. A caller that is cancelled leaves its change to happen or not, but never half.
        """
        if self._writer is None:
            raise PlatformError("the database is closed")
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        self._requests.put(_Request(fn, on_commit, loop, future))
        return await future

    async def load(self, fn: Callable[[sa.Connection], T]) -> T:
        """As `read`, for start-up: raises `ConfigurationError` with the next step when the file is damaged."""
        try:
            return await self.read(fn)
        except (sa.exc.DBAPIError, sa.exc.NoResultFound) as error:
            raise damaged(self._path, getattr(error, "orig", None) or error) from error

    async def read(self, fn: Callable[[sa.Connection], T]) -> T:
        """Runs `fn` in a transaction of its own on a reader's thread; it sees one committed state."""

        def run() -> T:
            with self._reader_engine.connect() as connection:
                return fn(connection)

        return await asyncio.get_running_loop().run_in_executor(self._readers, run)

    def _prepare(self) -> None:
        make_folder(self._path.parent)
        self._lock = _lock(self._path.with_name(self._path.name + ".lock"))
        _keep_private(self._path)
        try:
            with self._writer_engine.connect() as connection:
                _migrate(connection, self._path)
                connection.commit()
        except sa.exc.DBAPIError as error:
            raise damaged(self._path, error.orig or error) from error
        # The file, its log and its index exist from here on; their names must survive a power cut as well.
        sync_folder(self._path.parent)

    def _write_forever(self) -> None:
        """The writer's thread. A connection that fails is replaced; its requests are told, later ones are served."""
        while True:
            try:
                with self._writer_engine.connect() as connection:
                    if self._write_on(connection):
                        return
            except (sa.exc.SQLAlchemyError, sqlite.DriverError) as error:
                log.error("the connection that writes the database was lost; opening another", error=str(error))

    def _write_on(self, connection: sa.Connection) -> bool:
        """Serves requests until the last, or until this connection failed: then False."""
        while (request := self._requests.get()) is not None:
            batch = [request]
            last = self._drain_into(batch)
            done = _commit(connection, batch)
            _answer(done)
            if last:
                return True
            if all(isinstance(each.error, PlatformError) for each in done):
                return False
        return True

    def _drain_into(self, batch: list[_Request]) -> bool:
        """Adds what waits already; True when the end of all requests was found."""
        while len(batch) < REQUESTS_PER_COMMIT:
            try:
                request = self._requests.get_nowait()
            except queue.Empty:
                return False
            if request is None:
                return True
            batch.append(request)
        return False


def _commit(connection: sa.Connection, batch: list[_Request]) -> list[_Done]:
    """One transaction for all, a savepoint for each."""
    try:
        with connection.begin():
            return [_run(connection, request) for request in batch]
    except (sa.exc.SQLAlchemyError, sqlite.DriverError, PlatformError) as error:
        failure = PlatformError(f"the change could not be committed: {error}")
        failure.__cause__ = error
        return [_Done(request, None, failure) for request in batch]


def _run(connection: sa.Connection, request: _Request) -> _Done:
    savepoint = connection.begin_nested()
    try:
        result = request.fn(connection)
        savepoint.commit()
    except BaseException as error:
        # Raised to the caller, which waits on the event loop.
        # A full disk or an I/O error ends the whole transaction: then nothing of this batch may be acknowledged.
        if not sqlite.in_transaction(connection):
            raise PlatformError(f"the database gave up the transaction: {error}") from error
        savepoint.rollback()
        return _Done(request, None, error)
    return _Done(request, result, None)


def _answer(done: list[_Done]) -> None:
    """Wakes the callers, in order of commit; one wake-up for each loop's run of answers."""
    start = 0
    for end in range(1, len(done) + 1):
        if end == len(done) or done[end].request.loop is not done[start].request.loop:
            try:
                done[start].request.loop.call_soon_threadsafe(_resolve, done[start:end])
            except RuntimeError:
                log.warning("a loop was closed before its changes were answered", answers=end - start)
            start = end


def _resolve(done: list[_Done]) -> None:
    for answer in done:
        future = answer.request.future
        if answer.error is not None:
            if not future.done():
                future.set_exception(answer.error)
            continue
        # Also when the caller was cancelled: the change is committed.
        if answer.request.on_commit is not None:
            try:
                answer.request.on_commit(answer.result)
            except Exception as error:
                # Raised to this caller alone: the callers behind it must get their answers.
                log.exception("a committed change could not be passed on")
                if not future.done():
                    future.set_exception(error)
                continue
        if not future.done():
            future.set_result(answer.result)


def _path_of(path: Path | str) -> Path:
    if isinstance(path, Path):
        return path.absolute()
    if "://" not in path:
        return Path(path).absolute()
    url = sa.make_url(path)
    if url.get_backend_name() != "sqlite" or not url.database or url.database == ":memory:":
        raise ConfigurationError(f"database '{path}' cannot be used: expected a path or sqlite:///PATH")
    return Path(url.database).absolute()


def _keep_private(path: Path) -> None:
    """Lets only its owner read the file, which holds keys; SQLite gives the files beside it the same mode."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        os.fchmod(descriptor, 0o600)
    finally:
        os.close(descriptor)


def _lock(path: Path) -> int:
    """Held until `close` or the end of the process, however it ends."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(descriptor)
        raise ConfigurationError(
            f"another process has {path.parent} open: stop it, or choose another data directory"
        ) from error
    return descriptor


def _migrate(connection: sa.Connection, path: Path) -> None:
    found, expected = revision_of(connection), newest_migration()
    if found == expected:
        return
    # Imported here because the import takes longer than the rest of a start, and is needed once a release.
    from alembic import command
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    if found is not None and found not in known:
        raise ConfigurationError(
            f"{path} was written by a newer Sesame (found revision {found}, expected {expected} or older): upgrade "
            "Sesame, or choose another data directory"
        )
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def newest_migration() -> str:
    """The revision that this code expects; files of migrations are called v<revision>_<what>.py."""
    return max(path.name[1:].partition("_")[0] for path in (MIGRATIONS / "versions").glob("v*.py"))


def revision_of(connection: sa.Connection) -> str | None:
    """The migration that a database stands at; None for one without tables."""
    if not sa.inspect(connection).has_table("alembic_version"):
        return None
    found = connection.execute(sa.text("SELECT version_num FROM alembic_version")).scalar_one_or_none()
    return None if found is None else str(found)
