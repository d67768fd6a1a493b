"""Numbers that several processes give one after the other, and never twice: each reserves some before it gives any.

Used by stores whose rows lie in files of their own, within transactions of `Database.write`.
"""

import sqlalchemy as sa

from sesame.store.sql.dialect import upsert
from sesame.store.sql.schema import counters


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
