"""The requirements for a PostgreSQL database before a Sesame uses it.

Used by `store.sql.postgresql` on new connections.
"""

from typing import Any

import asyncpg

from sesame.model.errors import ConfigurationError
from sesame.store.sql.refusals import InUse

VERSION_LEAST = 14
# By the server's own clock, which wrote `renewed_at`: the nodes may be between two writers.
LIVE_CLUSTER_S = 15.0
LIVE_CLUSTER = f"""
SELECT node, address FROM cluster_leadership
WHERE node <> '' AND abs(extract(epoch FROM clock_timestamp()) - renewed_at) < {LIVE_CLUSTER_S}
"""


async def require_usable(connection: "asyncpg.Connection[Any]", shown: str) -> None:
    """Raises `ConfigurationError` if the server or the database cannot store what Sesame needs."""
    version = connection.get_server_version()
    if version.major < VERSION_LEAST:
        raise ConfigurationError(
            f"the database {shown} cannot be used: its server is PostgreSQL {version.major}.{version.minor}, "
            f"expected {VERSION_LEAST} or newer. Upgrade the server, or name another"
        )
    encoding = await connection.fetchval("SHOW server_encoding")
    if encoding != "UTF8":
        raise ConfigurationError(
            f"the database {shown} cannot be used: it has the encoding {encoding}, expected UTF8. Make one "
            "with CREATE DATABASE … ENCODING 'UTF8' TEMPLATE template0"
        )
    if await connection.fetchval("SELECT pg_is_in_recovery()"):
        raise ConfigurationError(
            f"the database {shown} cannot be used: its server is a standby, which cannot be written. Name the primary"
        )


async def require_no_cluster(connection: "asyncpg.Connection[Any]", shown: str) -> None:
    """Raises `InUse` if nodes of a cluster use the database, even if none of them writes at the moment."""
    if await connection.fetchval("SELECT to_regclass('cluster_leadership')") is None:
        return
    leader = await connection.fetchrow(LIVE_CLUSTER)
    if leader is not None:
        raise InUse(
            f"the database {shown} is that of a cluster, which node '{leader['node']}' at {leader['address']} has led "
            f"within the last {LIVE_CLUSTER_S:g} s: stop all its nodes first, or name another database"
        )
