"""The leadership of a cluster, in PostgreSQL: a row with an epoch that only grows, and fencing of earlier leaders.

Used by `cluster`. Has its own connection, which it reopens when lost. Each statement that changes something contains
the epoch of its caller. The time in the row is the server's, and is only used to tell one renewal from another.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import asyncpg
import msgspec
import sqlalchemy as sa

from sesame.model.errors import ConfigurationError, PlatformError
from sesame.store.sql.cluster_schema import LEADERSHIP, cluster_leadership
from sesame.store.sql.postgresql import (
    CONNECT_TIMEOUT_S,
    HOLDER,
    LOCK,
    LOCK_RETRY_S,
    SESSION,
    PostgresqlBackend,
    epoch_of,
    named,
    without_password,
)
from sesame.store.sql.postgresql_errors import DRIVER_ERRORS, first_line, refusal
from sesame.store.sql.refusals import InUse
from sesame.store.sql.schema import PAIR

# For one statement, without connecting: shorter than the time after which a writer that could not renew ends.
ANSWERS_WITHIN_S = 1.5
# Other nodes may create the tables at the same time.
TABLES_PATIENCE_S = 30.0

_NOW = "extract(epoch FROM clock_timestamp())"
_BEGIN = """
INSERT INTO cluster_leadership (name, epoch, node, address, renewed_at) VALUES ($1, 0, '', '', 0) ON CONFLICT DO NOTHING
"""
_LOOK = """
SELECT coalesce(epoch, 0), coalesce(node, ''), coalesce(address, ''), coalesce(renewed_at, 0), coalesce(settings, ''),
    version_num
FROM alembic_version LEFT JOIN cluster_leadership ON name = $1
"""
# One statement, so that of two competing keys one comes first.
_KNOW = """
UPDATE cluster_leadership SET key_digest = CASE key_digest WHEN '' THEN $2 ELSE key_digest END WHERE name = $1
RETURNING key_digest
"""
# One statement, so that two nodes that have seen the same row cannot both take it.
_TAKE = f"""
WITH taken AS (
    UPDATE cluster_leadership SET epoch = epoch + 1, node = $3, address = $4, renewed_at = {_NOW}, settings = $7
    WHERE name = $1 AND epoch = $2 AND (renewed_at = $5 OR node = $3) RETURNING epoch
), held AS (
    INSERT INTO cluster_holders SELECT $6 FROM taken ON CONFLICT DO NOTHING
)
SELECT epoch FROM taken
"""
_RENEW = f"UPDATE cluster_leadership SET renewed_at = {_NOW} WHERE name = $1 AND epoch = $2 RETURNING epoch"
_RESIGN = """
WITH left_by AS (
    UPDATE cluster_leadership SET renewed_at = 0, node = '', address = '' WHERE name = $1 AND epoch = $2 RETURNING 1
)
DELETE FROM cluster_holders WHERE name = $3 AND EXISTS (SELECT FROM left_by)
"""
# Locks the row, so that no epoch ends during a statement made in it: whoever takes the next epoch sees its effects.
_LED = "SELECT FROM cluster_leadership WHERE name = $1 AND epoch = $2 FOR SHARE"
_HOLD = f"""
WITH led AS ({_LED})
INSERT INTO cluster_holders SELECT $3 FROM led
ON CONFLICT (name) DO UPDATE SET name = $3 RETURNING name
"""
_RELEASE = f"""
WITH led AS ({_LED})
DELETE FROM cluster_holders WHERE name = $3 AND EXISTS (SELECT FROM led)
"""
# Also true if an earlier Sesame has created them.
_HAS_TABLES = """
SELECT EXISTS (
    SELECT FROM pg_attribute WHERE attrelid = to_regclass('cluster_leadership') AND attname = 'settings'
) AS there
"""
# Sessions are identified by the name that `store.sql.postgresql` gives them.
_FENCE = """
SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
WHERE datname = current_database() AND application_name ~ '^sesame/[0-9]+ '
    AND substring(application_name FROM '^sesame/([0-9]+) ')::bigint < $1
"""


class Seen(msgspec.Struct, frozen=True):
    """The row: who leads, its address for other nodes, and when it last renewed. Epoch 0: nobody yet.

    `settings` are those of the last leader, as it reported them. `schema` is the database's migration.
    """

    epoch: int
    node: str
    address: str
    renewed_at: float
    settings: str = ""
    schema: str = ""


class Leadership:
    """Every method raises `PlatformError` while the database cannot be reached; the caller tries again."""

    def __init__(self, url: str, name: str) -> None:
        """`name` shows operators which node has the connection."""
        self.shown = without_password(url)
        self._url = url
        self._name = f"sesame cluster {name}"[:63]
        self._raw: asyncpg.Connection[Any] | None = None
        self._turn = asyncio.Lock()

    async def open(self) -> None:
        """On return the tables exist. Raises `ConfigurationError` if the database cannot be used."""
        gives_up_at = time.monotonic() + TABLES_PATIENCE_S
        while not await self._has_tables():
            try:
                await asyncio.to_thread(self._make_tables)
            except InUse:
                # Another node creates them, which may take long on a busy machine; or a single Sesame has the database.
                if time.monotonic() > gives_up_at:
                    raise

    async def look(self) -> Seen:
        row = await self._ask(_LOOK, LEADERSHIP)
        return Seen(0, "", "", 0.0) if row is None else Seen(*row)

    async def know(self, key_digest: str) -> str:
        """The key digest of the cluster that has this database: `key_digest` itself if there was none."""
        await self._do(_BEGIN, LEADERSHIP)
        row = await self._ask(_KNOW, LEADERSHIP, key_digest)
        assert row is not None
        return str(row["key_digest"])

    async def number(self) -> int:
        """The number shared by the database, its data directories and its bucket; 0 if there is none yet."""
        row = await self._ask("SELECT value FROM counters WHERE name = $1", PAIR)
        return 0 if row is None else int(row["value"])

    async def require_free(self) -> None:
        """Raises `InUse` if a Sesame without a cluster uses the database and does not leave it within a while."""
        gives_up_at = time.monotonic() + TABLES_PATIENCE_S
        while (holder := await self._ask(HOLDER, LOCK >> 32, LOCK & 0xFFFF_FFFF)) and not epoch_of(holder["name"]):
            if time.monotonic() > gives_up_at:
                raise InUse(
                    f"the database {self.shown} is in use by {named(holder)}, which is of no cluster: stop that one, "
                    "or name another database"
                )
            await asyncio.sleep(LOCK_RETRY_S)

    async def take(self, seen: Seen, node: str, address: str, holder: str, settings: str = "") -> int:
        """Returns the new epoch, or 0 if another node was faster, or the row was renewed since it was `seen`.

        A `node` may take over from itself at once, because its previous process has ended. It is a `holder` from then
        on, and `settings` are those it reports.
        """
        if not seen.epoch:
            await self._do(_BEGIN, LEADERSHIP)
        row = await self._ask(_TAKE, LEADERSHIP, seen.epoch, node, address, seen.renewed_at, holder, settings)
        return 0 if row is None else int(row["epoch"])

    async def renew(self, epoch: int) -> bool:
        """Returns False if a newer epoch has begun."""
        return await self._ask(_RENEW, LEADERSHIP, epoch) is not None

    async def resign(self, epoch: int, holder: str) -> None:
        """Lets another node take over at once, without waiting for this `holder`, none of whose instances is left."""
        await self._do(_RESIGN, LEADERSHIP, epoch, holder)

    async def fence(self, epoch: int) -> None:
        """Ends every session that could write in an older epoch."""
        await self._do(_FENCE, epoch)

    async def hold(self, epoch: int, holder: str) -> bool:
        """Allows `holder` to have instances until `release`. Returns False if a newer epoch has begun."""
        return await self._ask(_HOLD, LEADERSHIP, epoch, holder) is not None

    async def release(self, epoch: int, holder: str) -> None:
        await self._do(_RELEASE, LEADERSHIP, epoch, holder)

    async def ended(self, holder: str) -> None:
        """Called by a process that knows that no instance of the holder is left, in whatever epoch."""
        await self._do("DELETE FROM cluster_holders WHERE name = $1", holder)

    async def holders(self) -> list[str]:
        async with self._turn, self._connected() as raw:
            return [row["name"] for row in await raw.fetch("SELECT name FROM cluster_holders ORDER BY name")]

    async def close(self) -> None:
        """Closes the connection; idempotent."""
        raw, self._raw = self._raw, None
        if raw is not None:
            raw.terminate()

    async def _has_tables(self) -> bool:
        try:
            row = await self._ask(_HAS_TABLES)
        except PlatformError as error:
            cause = error.__cause__
            if cause is None or isinstance(cause, ConfigurationError):
                raise cause or error from error
            what, step = refusal(cause)
            raise ConfigurationError(f"the database {self.shown} cannot be used: {what}. {step}") from error
        assert row is not None
        return bool(row["there"])

    def _make_tables(self) -> None:
        """Waits a while for another user of the database; `InUse` names it."""
        backend = PostgresqlBackend(self._url, self._name)
        try:
            backend.prepare()
        finally:
            backend.writer().close()
            backend.close()

    async def _ask(self, statement: str, *values: object) -> "asyncpg.Record | None":
        async with self._turn, self._connected() as raw:
            return await raw.fetchrow(statement, *values)

    async def _do(self, statement: str, *values: object) -> None:
        async with self._turn, self._connected() as raw:
            await raw.execute(statement, *values)

    @contextlib.asynccontextmanager
    async def _connected(self) -> "AsyncIterator[asyncpg.Connection[Any]]":
        raw = self._raw
        try:
            if raw is None or raw.is_closed():
                raw = self._raw = await asyncpg.connect(
                    self._url, timeout=CONNECT_TIMEOUT_S, server_settings={"application_name": self._name}
                )
                with _watched(raw):
                    await raw.execute(SESSION)
            with _watched(raw):
                yield raw
        except (ValueError, TypeError, *DRIVER_ERRORS) as error:
            if raw is not None:
                raw.terminate()
            self._raw = None
            raise PlatformError(f"the database {self.shown} cannot be reached: {first_line(error)}") from error


def rekey(url: str, key_digest: str) -> None:
    """Replaces the key digest by which the database knows its cluster.

    Raises `ConfigurationError` while anybody uses the database, and if no cluster has used it.
    """
    backend = PostgresqlBackend(url, "sesame cluster rekey")

    def change(connection: sa.Connection) -> None:
        connection.execute(sa.text(_BEGIN.replace("$1", ":name")), {"name": LEADERSHIP})
        # The stored settings were protected by the former key.
        known = sa.or_(cluster_leadership.c.key_digest != "", cluster_leadership.c.epoch > 0)
        changed = sa.update(cluster_leadership).where(known).values(key_digest=key_digest, settings="")
        if connection.execute(changed).rowcount == 0:
            raise ConfigurationError(
                f"no cluster has used the database {without_password(url)}, so there is no key to change; expected the "
                f"database of a cluster: look at its name. A new cluster takes the key that its nodes are started with"
            )
        connection.commit()

    try:
        backend.prepare()
        backend.writer().run(change)
    finally:
        backend.close()


@contextlib.contextmanager
def _watched(raw: "asyncpg.Connection[Any]") -> Iterator[None]:
    """Closes the connection of a silent server: asyncpg's own time limits would send it a cancel request and wait."""
    watch = asyncio.get_running_loop().call_later(ANSWERS_WITHIN_S, raw.terminate)
    try:
        yield
    finally:
        watch.cancel()
