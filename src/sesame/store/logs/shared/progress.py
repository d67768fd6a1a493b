"""Up to when the logs of a cluster are in its bucket: told in the database by the node that leads, after each attempt
that left nothing behind.

Used by `loops`; read by backups at other nodes. Times are of that node's clock.
"""

from collections.abc import Awaitable, Callable

import sqlalchemy as sa

from sesame.store.sql.database import Database
from sesame.store.sql.dialect import upsert
from sesame.store.sql.schema import counters

# In ms since 1970.
LINES, GROUPS = "log_lines_brought_ms", "log_groups_brought_ms"

Tell = Callable[[float], Awaitable[None]]
"""What was written before this time (Unix seconds) is in the bucket. Raises `PlatformError`."""


def teller(database: Database, name: str) -> Tell:
    async def tell(at: float) -> None:
        row = {"name": name, "value": int(at * 1000)}
        await database.write(lambda connection: connection.execute(upsert(counters), row).rowcount)

    return tell


def brought(connection: sa.Connection) -> tuple[float, float]:
    """For lines, and for logs of logstores; 0 where it was never told."""
    chosen = sa.select(counters.c.name, counters.c.value).where(counters.c.name.in_((LINES, GROUPS)))
    found = {name: value / 1000 for name, value in connection.execute(chosen)}
    return found.get(LINES, 0.0), found.get(GROUPS, 0.0)
