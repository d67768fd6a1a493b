"""One statement for many rows, on every database.

Run by pytest.
"""

from pathlib import Path

import pytest
import sqlalchemy as sa

from sesame.store.sql.database import Database
from sesame.store.sql.many_rows import ManyRows
from sesame.store.sql.schema import counters

ADD = ManyRows(sa.insert(counters), ["name", "value"])
RAISE = ManyRows(
    sa.update(counters).where(counters.c.name == sa.bindparam("the_name")).values(value=counters.c.value + 5)
)


async def test_writes_each_row_and_fills_in_what_is_the_same_for_all(place: Path | str) -> None:
    database = Database(place)
    await database.open()

    def change(connection: sa.Connection) -> list[int]:
        ADD.execute(connection, [{"name": f"many {number}", "value": number} for number in range(3)])
        ADD.execute(connection, [])
        RAISE.execute(connection, [{"the_name": "many 0"}, {"the_name": "many 2"}])
        found = sa.select(counters.c.value).where(counters.c.name.like("many %")).order_by(counters.c.name)
        return list(connection.execute(found).scalars())

    assert await database.write(change) == [5, 1, 7]
    with pytest.raises(KeyError, match="the_name"):
        await database.write(lambda connection: RAISE.execute(connection, [{}]))
    await database.close()
