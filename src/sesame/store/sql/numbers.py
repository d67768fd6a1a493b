"""Numbers that several processes assign one after the other, never twice: each reserves some before it assigns any.

Used by stores whose rows are in files of their own, within transactions of `Database.write`. A database restored from
an older backup has lost later reservations, so numbers also increase with the clock. A number could be repeated only if
the database is restored and the clock is behind by as much.
"""

import sqlalchemy as sa

from sesame.store.sql.dialect import upsert
from sesame.store.sql.schema import counters

# 2025-01-01, before there were clusters.
_BEGIN_S = 1_735_689_600


def at_time(wall_s: float, per_second: int) -> int:
    """The first number for that time (Unix seconds), if numbers increase by `per_second`; 0 before 2025."""
    return max(int(wall_s) - _BEGIN_S, 0) * per_second


def reserve(connection: sa.Connection, name: str, first: int, count: int) -> int:
    """Reserves `count` numbers, none below `first`, that nobody else has or will get; returns the first."""
    found = connection.execute(sa.select(counters.c.value).where(counters.c.name == name)).scalar()
    reserved = max(first, found or 0)
    connection.execute(upsert(counters), {"name": name, "value": reserved + count})
    return reserved


def keep_ahead(connection: sa.Connection, name: str, value: int) -> None:
    """Makes later reservations start at `value` or higher."""
    at_least = sa.update(counters).where(counters.c.name == name, counters.c.value < value)
    connection.execute(at_least.values(value=value))
