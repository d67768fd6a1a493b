"""Numbers that several processes give one after the other, and never twice: each reserves some before it gives any.

Used by stores whose rows lie in files of their own, within transactions of `Database.write`. A database that is set
back, as by restoring a backup, has forgotten what it reserved since: so numbers rise with the clock, too. Both would
have to fail at once, a database set back and a clock behind by as much, for a number to be given twice.
"""

import sqlalchemy as sa

from sesame.store.sql.dialect import upsert
from sesame.store.sql.schema import counters

# 2025-01-01, before there were clusters.
_BEGIN_S = 1_735_689_600


def at_time(wall_s: float, per_second: int) -> int:
    """The number to begin with at that time (Unix seconds), of numbers that rise so fast; 0 before 2025."""
    return max(int(wall_s) - _BEGIN_S, 0) * per_second


def reserve(connection: sa.Connection, name: str, first: int, count: int) -> int:
    """The first of `count` numbers, `first` or more, that nobody else has had or will have."""
    found = connection.execute(sa.select(counters.c.value).where(counters.c.name == name)).scalar()
    reserved = max(first, found or 0)
    connection.execute(upsert(counters), {"name": name, "value": reserved + count})
    return reserved


def keep_ahead(connection: sa.Connection, name: str, value: int) -> None:
    """The next one who reserves gets no number below `value`."""
    at_least = sa.update(counters).where(counters.c.name == name, counters.c.value < value)
    connection.execute(at_least.values(value=value))
