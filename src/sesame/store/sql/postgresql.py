"""PostgreSQL over asyncpg: one lock per database, connections that detect when they are lost, clear refusals.

Chosen by `store.sql.backends`. docs/adr/0012-postgresql-from-threads.md explains how asyncpg serves blocking functions.
The lock belongs to the connection that writes, so nothing is committed without it.
"""

import asyncio
import os
import socket
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import asyncpg
import sqlalchemy as sa
import structlog
import uvloop
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from sesame.model.errors import ConfigurationError, PlatformError
from sesame.store.sql.migrate import known_migrations, migrate, newest_migration, revision_of
from sesame.store.sql.postgresql_errors import DRIVER_ERRORS, URL_EXPECTED, first_line, is_loss, refusal
from sesame.store.sql.postgresql_fit import require_no_cluster, require_usable
from sesame.store.sql.refusals import NEXT_STEPS_ELSEWHERE, InUse, of_another_program

T = TypeVar("T")

CONNECT_TIMEOUT_S = 10.0
# No transaction of Sesame's takes this long, except those without a time limit; a server that does not finish one
# within this time counts as lost.
TRANSACTION_TIMEOUT_S = 30.0
PROBE_EVERY_S = 5.0
PROBE_TIMEOUT_S = 5.0
# An idle connection is checked before use, unless it was used this recently.
TRUSTED_S = 1.0
# The server notices only after a moment that a Sesame was killed, and keeps its lock until then.
LOCK_PATIENCE_S = 5.0
LOCK_RETRY_S = 0.05
LOCK = int.from_bytes(b"sesamefc", "big")
APPLICATION_NAME_BYTES_MAX = 63

# These override the server's settings: a commit is on the disk when it returns, idle connections stay open, and a
# Sesame that dies with its machine loses its lock within half a minute.
SESSION = """
SET synchronous_commit = on; SET default_transaction_read_only = off; SET idle_session_timeout = 0;
SET idle_in_transaction_session_timeout = 0; SET statement_timeout = 0; SET lock_timeout = 0;
SET client_connection_check_interval = '5s'; SET tcp_keepalives_idle = 10; SET tcp_keepalives_interval = 5;
SET tcp_keepalives_count = 3
"""
# Writes address single rows. The plan of a prepared statement is kept while its table grows, so a plan made
# while the table is small must not read the whole table.
WRITER = "SET enable_seqscan = off; SET enable_hashjoin = off; SET enable_mergejoin = off; SET jit = off"
HOLDER = """
SELECT a.pid, coalesce(a.application_name, '') AS name, coalesce(host(a.client_addr), '') AS address
FROM pg_locks l JOIN pg_stat_activity a USING (pid)
WHERE l.locktype = 'advisory' AND l.granted AND l.classid = $1 AND l.objid = $2 AND l.objsubid = 1
    AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""

LED = "SELECT epoch FROM cluster_leadership"
_SEQUENCE = sa.text("SELECT pg_get_serial_sequence(:table, :column)")


log = structlog.get_logger(__name__)


class PostgresqlBackend:
    """`store.sql.interface.Backend` for a URL in libpq's form. `used_by` shows operators which Sesame it is."""

    next_steps = NEXT_STEPS_ELSEWHERE
    probe_every_s: float | None = PROBE_EVERY_S

    def __init__(self, url: str, used_by: str = "", epoch: int = 0) -> None:
        """An `epoch` means the writer of a cluster: instead of only the lock, it checks who leads since that epoch."""
        self.shown = without_password(url)
        self._url = url
        self._epoch = epoch
        self._name = _application_name(used_by, epoch)
        self._engine = create_async_engine(
            # Parameters may be secrets, and errors are logged.
            "postgresql+asyncpg://",
            async_creator=self._connect,
            poolclass=sa.pool.NullPool,
            hide_parameters=True,
        )
        self._readers = self._engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
        self._writer = _Line(self._open_writer)
        # The server's process id of the connection that last had the lock, to end it if it outlives this process's use.
        self._writer_pid = 0
        self._prepared = False

    def lock(self) -> None:
        try:
            self._writer.run(lambda _connection: None)
        except PlatformError as error:
            raise self.unusable(error.__cause__ or error) from error

    def prepare(self) -> None:
        self.lock()
        try:
            asyncio.run(self._migrate())
        except (sa.exc.SQLAlchemyError, *DRIVER_ERRORS) as error:
            raise self.unusable(error) from error
        self._prepared = True

    def writer(self) -> "_Line":
        return self._writer

    def reader(self) -> "_Line":
        return _Line(lambda: self._open(self._readers))

    def close(self) -> None:
        self._writer.close()

    def lost_transaction(self, connection: sa.Connection, error: BaseException) -> bool:
        if _is_dead(connection):
            return True
        if not is_loss(error):
            return False
        # A silent server would not answer the rollback either.
        raw = connection.connection.driver_connection
        assert isinstance(raw, asyncpg.Connection)
        raw.terminate()
        return True

    def unusable(self, error: BaseException) -> ConfigurationError:
        if isinstance(error, ConfigurationError):
            return error
        what, step = refusal(error)
        return ConfigurationError(f"the database {self.shown} cannot be used: {what}. {step}")

    def absent(self) -> str:
        return ""

    def missing(self) -> str:
        def look(connection: sa.Connection) -> str:
            tables = sa.inspect(connection).get_table_names()
            if tables and "alembic_version" not in tables:
                raise of_another_program(self.shown, tables, NEXT_STEPS_ELSEWHERE)
            found = "records" in tables and connection.execute(sa.text("SELECT 1 FROM records LIMIT 1")).first()
            return "" if found else "holds no records" if tables else "is empty"

        return self.follow(look)

    def follow(self, fn: Callable[[sa.Connection], T]) -> T:
        line = self.reader()
        try:
            return line.run(fn, in_time=False)
        except PlatformError as error:
            raise self.unusable(error.__cause__ or error) from error
        finally:
            line.close()

    def damage(self) -> list[str]:
        return []

    def last_number(self, connection: sa.Connection, table: str, column: str) -> int:
        name = connection.execute(_SEQUENCE, {"table": table, "column": column}).scalar_one()
        last, used = connection.execute(sa.text(f"SELECT last_value, is_called FROM {name}")).one()
        return int(last) if used else 0

    def set_last_number(self, connection: sa.Connection, table: str, column: str, number: int) -> None:
        name = connection.execute(_SEQUENCE, {"table": table, "column": column}).scalar_one()
        connection.execute(sa.text("SELECT setval(CAST(:name AS regclass), :number)"), {"name": name, "number": number})

    async def _connect(self) -> "asyncpg.Connection[Any]":
        try:
            connection = await asyncpg.connect(
                self._url,
                timeout=CONNECT_TIMEOUT_S,
                server_settings={"application_name": self._name},
            )
        except (ValueError, TypeError) as error:
            # Errors that asyncpg's URL parser does not catch, such as a port that is not a number.
            raise asyncpg.ClientConfigurationError(str(error)) from error
        try:
            await require_usable(connection, self.shown)
            await connection.execute(SESSION)
        except BaseException:
            connection.terminate()
            raise
        return connection

    async def _open(self, engine: AsyncEngine) -> AsyncConnection:
        connection = engine.connect()
        await connection.start()
        return connection

    async def _open_writer(self) -> AsyncConnection:
        connection = await self._open(self._engine)
        try:
            raw = await _raw(connection)
            await self._take_lock(raw)
            await raw.execute(WRITER)
            self._writer_pid = raw.get_server_pid()
        except BaseException:
            await _abandon(connection)
            raise
        return connection

    async def _take_lock(self, raw: "asyncpg.Connection[Any]") -> None:
        """Raises `ConfigurationError` if another process has the lock, `PlatformError` if it took it meanwhile."""
        deadline = time.monotonic() + LOCK_PATIENCE_S
        while not await raw.fetchval("SELECT pg_try_advisory_lock($1)", LOCK):
            holder = await raw.fetchrow(HOLDER, LOCK >> 32, LOCK & 0xFFFF_FFFF)
            if holder is not None and holder["pid"] == self._writer_pid and holder["name"] == self._name:
                # This process's own lost connection, which the server has not noticed yet.
                await raw.execute("SELECT pg_terminate_backend($1)", self._writer_pid)
            elif holder is not None and 0 < epoch_of(holder["name"]) < self._epoch:
                # An earlier writer that was cut off and came back. It sees its connection lost, and finds the lock
                # taken.
                await raw.execute("SELECT pg_terminate_backend($1)", holder["pid"])
            elif holder is not None and self._prepared:
                raise PlatformError(
                    f"{named(holder)} took the database {self.shown} while this Sesame had lost its connection: this "
                    "one writes nothing until that one is stopped"
                )
            if holder is not None and time.monotonic() > deadline:
                raise InUse(
                    f"the database {self.shown} is in use by {named(holder)}: stop that one, or name another database"
                )
            await asyncio.sleep(LOCK_RETRY_S)
        if not self._epoch and not self._prepared:
            await require_no_cluster(raw, self.shown)
        if self._epoch:
            # Checked with the lock held, so that no newer writer can have begun to write.
            led = await raw.fetchval(LED)
            if led != self._epoch:
                raise PlatformError(
                    f"epoch {led} of the cluster has begun, and this is the writer of epoch {self._epoch}: it writes "
                    "nothing any more"
                )

    async def _migrate(self) -> None:
        """Uses a connection of its own, because changing a large table may take long."""
        async with self._engine.connect() as connection:
            if await connection.scalar(sa.text("SHOW fsync")) != "on":
                log.warning("the database server runs with fsync off: a power cut may cost what was acknowledged")
            found = await connection.run_sync(revision_of)
            if found in known_migrations() and found != newest_migration():
                log.warning(
                    "the database is upgraded, and not copied, as it is on a server: the way back is your own copy",
                    schema=found,
                    to=newest_migration(),
                )
            await connection.run_sync(migrate, self.shown)
            await connection.commit()


class _Line:
    """`store.sql.interface.Line`: a connection with its own event loop, which runs only during `run`."""

    def __init__(self, connect: Callable[[], Awaitable[AsyncConnection]]) -> None:
        self.opened = 0
        self._connect = connect
        # Created with the first run, because a loop holds five descriptors, and many lines are never used.
        self._loop: asyncio.AbstractEventLoop | None = None
        self._connection: AsyncConnection | None = None
        self._used_at = 0.0

    def run(self, fn: Callable[[sa.Connection], T], *, in_time: bool = True) -> T:
        if self._loop is None:
            self._loop = uvloop.new_event_loop()
        return self._loop.run_until_complete(self._run(fn, TRANSACTION_TIMEOUT_S if in_time else None))

    def drop(self) -> None:
        if self._connection is not None and self._loop is not None:
            self._loop.run_until_complete(self._drop())

    def close(self) -> None:
        if self._loop is not None and not self._loop.is_closed():
            connection, self._connection = self._connection, None
            if connection is not None:
                self._loop.run_until_complete(_end(connection))
            self._loop.close()

    async def _run(self, fn: Callable[[sa.Connection], T], timeout_s: float | None) -> T:
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S + LOCK_PATIENCE_S):
                connection = await self._ready()
            raw = await _raw(connection)
        except (ConfigurationError, sa.exc.SQLAlchemyError, *DRIVER_ERRORS) as error:
            raise PlatformError(f"the database cannot be reached: {first_line(error)}") from error
        # asyncpg's own time limits send the server a cancel request, and wait for its answer.
        watch = None if timeout_s is None else asyncio.get_running_loop().call_later(timeout_s, raw.terminate)
        try:
            result = await connection.run_sync(fn)
            if connection.in_transaction():
                await connection.rollback()
            # On a closed connection, SQLAlchemy treats the commit as done if there was nothing left to end.
            if _is_dead(connection.sync_connection):
                raise asyncpg.ConnectionDoesNotExistError("the connection was closed before its transaction ended")
        except BaseException as error:
            if _is_dead(connection.sync_connection) or is_loss(error):
                await self._drop()
                raise PlatformError(f"the connection to the database was lost: {first_line(error)}") from error
            if connection.in_transaction():
                await connection.rollback()
            raise
        finally:
            if watch is not None:
                watch.cancel()
        self._used_at = time.monotonic()
        return result

    async def _ready(self) -> AsyncConnection:
        if self._connection is not None and time.monotonic() - self._used_at > TRUSTED_S:
            try:
                await _probe(await _raw(self._connection))
                self._used_at = time.monotonic()
            except (sa.exc.SQLAlchemyError, *DRIVER_ERRORS):
                await self._drop()
        if self._connection is None:
            self._connection = await self._connect()
            self.opened += 1
        return self._connection

    async def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            await _abandon(connection)


async def _raw(connection: AsyncConnection) -> "asyncpg.Connection[Any]":
    raw = (await connection.get_raw_connection()).driver_connection
    assert isinstance(raw, asyncpg.Connection)
    return raw


async def _probe(raw: "asyncpg.Connection[Any]") -> None:
    watch = asyncio.get_running_loop().call_later(PROBE_TIMEOUT_S, raw.terminate)
    try:
        await raw.execute("SELECT 1")
    finally:
        watch.cancel()


async def _abandon(connection: AsyncConnection) -> None:
    """Closes the socket without sending anything to the server, which may not answer any more."""
    if not connection.closed and not connection.invalidated:
        (await _raw(connection)).terminate()
        await connection.invalidate()
    await connection.close()


async def _end(connection: AsyncConnection) -> None:
    try:
        await asyncio.wait_for(connection.close(), PROBE_TIMEOUT_S)
    except (sa.exc.SQLAlchemyError, *DRIVER_ERRORS) as error:
        log.warning("a connection to the database was lost before it was closed", error=first_line(error))


def without_password(url: str) -> str:
    """The URL for messages. Raises `ConfigurationError` if it is not a URL."""
    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise ConfigurationError(f"the URL of the database cannot be read: {error}; {URL_EXPECTED}") from error
    user, at, host = parts.netloc.rpartition("@")
    query = urlencode([(name, value) for name, value in parse_qsl(parts.query) if name != "password"], safe="/")
    return urlunsplit(parts._replace(netloc=f"{user.partition(':')[0]}{at}{host}", query=query))


def epoch_of(application_name: str) -> int:
    """The epoch of a cluster in which a session writes; 0 outside a cluster."""
    named = application_name.partition(" ")[0].removeprefix("sesame/")
    return int(named) if named.isascii() and named.isdigit() else 0


def _application_name(used_by: str, epoch: int) -> str:
    """How `pg_stat_activity` shows this process: its pid, its host and the end of `used_by`.

    In a cluster it begins with `sesame/EPOCH`, by which the next writer recognizes it (`store.sql.leadership`).
    """
    name = f"sesame{f'/{epoch}' if epoch else ''} {os.getpid()} on {socket.gethostname()[:24]}"
    left = APPLICATION_NAME_BYTES_MAX - len(name) - 1
    return f"{name} {used_by[-left:]}".strip().encode("ascii", "replace").decode()


def named(holder: "asyncpg.Record") -> str:
    where = f" from {holder['address']}" if holder["address"] else ""
    return f"another process ('{holder['name']}'{where}, backend {holder['pid']})"


def _is_dead(connection: sa.Connection | None) -> bool:
    if connection is None or connection.closed or connection.invalidated:
        return True
    raw = connection.connection.driver_connection
    return not isinstance(raw, asyncpg.Connection) or raw.is_closed()
