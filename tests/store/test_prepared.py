"""Statements that are compiled once, on every database.

Run by pytest.
"""

from pathlib import Path

import pytest
import sqlalchemy as sa

from sesame.store.sql.database import Database
from sesame.store.sql.prepared import Prepared
from sesame.store.sql.schema import counters

ADD = Prepared(sa.insert(counters), ["name", "value"])
RAISE = Prepared(
    sa.update(counters).where(counters.c.name == sa.bindparam("the_name")).values(value=counters.c.value + 5)
)
OF_NAME = Prepared(sa.select(counters.c.value).where(counters.c.name == sa.bindparam("the_name")))
ALL = Prepared(sa.select(counters.c.value).where(counters.c.name.like("many %")).order_by(counters.c.name))


async def test_runs_for_each_and_fills_in_what_is_the_same_for_all(place: Path | str) -> None:
    database = Database(place)
    await database.open()

    def change(connection: sa.Connection) -> list[int]:
        ADD.run_for_each(connection, [{"name": f"many {number}", "value": number} for number in range(3)])
        ADD.run_for_each(connection, [])
        RAISE.run_for_each(connection, [{"the_name": "many 0"}, {"the_name": "many 2"}])
        assert [tuple(row) for row in OF_NAME.rows(connection, {"the_name": "many 2"})] == [(7,)]
        return [value for (value,) in ALL.rows(connection, {})]

    assert await database.write(change) == [5, 1, 7]
    with pytest.raises(KeyError, match="the_name"):
        await database.write(lambda connection: RAISE.run_for_each(connection, [{}]))
    await database.close()
