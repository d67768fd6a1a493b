"""Records in the database up to which time a cluster's logs are in its bucket.

The leader records it after each upload that left nothing behind (`loops`); backups on other nodes read it. Times are
by the leader's clock.
"""

from collections.abc import Awaitable, Callable

import sqlalchemy as sa

from sesame.store.sql.database import Database
from sesame.store.sql.dialect import upsert
from sesame.store.sql.schema import counters

# The names of the counters, whose values are Unix milliseconds.
LINES, GROUPS = "log_lines_brought_ms", "log_groups_brought_ms"

Tell = Callable[[float], Awaitable[None]]
"""What was written before this time (Unix seconds) is in the bucket. Raises `PlatformError`."""


def teller(database: Database, name: str) -> Tell:
    async def tell(at: float) -> None:
        row = {"name": name, "value": int(at * 1000)}
        await database.write(lambda connection: connection.execute(upsert(counters), row).rowcount)

    return tell


def brought(connection: sa.Connection) -> tuple[float, float]:
    """The times for lines and for logs of logstores, in Unix seconds; 0 if never recorded."""
    chosen = sa.select(counters.c.name, counters.c.value).where(counters.c.name.in_((LINES, GROUPS)))
    found = {name: value / 1000 for name, value in connection.execute(chosen)}
    return found.get(LINES, 0.0), found.get(GROUPS, 0.0)
