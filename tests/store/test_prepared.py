"""Statements that are compiled once, on every database.

Run by pytest.
"""

from pathlib import Path

import pytest
import sqlalchemy as sa

from sesame.store.sql.database import Database
from sesame.store.sql.dialect import TEXT, insert_new
from sesame.store.sql.prepared import VALUES_AT_ONCE, Prepared, PreparedList, PreparedRows
from sesame.store.sql.schema import counters

ADD = PreparedRows(insert_new(counters, [counters.c.name]), ["name", "value"])
RAISE = PreparedRows(
    sa.update(counters)
    .where(counters.c.name == sa.bindparam("the_name", type_=TEXT))
    .values(value=counters.c.value + sa.bindparam("by", type_=sa.BigInteger))
)
OF_NAME = Prepared(sa.select(counters.c.value).where(counters.c.name == sa.bindparam("the_name")))
VALUES = PreparedList(lambda values: sa.select(counters.c.name).where(counters.c.value.in_(values)))


def rows(count: int) -> list[dict[str, str | int]]:
    return [{"name": f"many {number}", "value": number} for number in range(count)]


@pytest.mark.parametrize("count", [0, 1, 3, 16, 17, 100, 200])
async def test_changes_many_rows_by_few_statements(place: Path | str, count: int) -> None:
    database = Database(place)
    await database.open()

    def change(connection: sa.Connection) -> None:
        assert ADD.run_for_each(connection, rows(count)) == count
        assert ADD.run_for_each(connection, rows(count)) == 0, "they are there"
        raised = [{"the_name": row["name"], "by": 1000} for row in rows(count)]
        assert RAISE.run_for_each(connection, [*raised, {"the_name": "none", "by": 1}]) == count
        for number in range(count):
            assert [tuple(row) for row in OF_NAME.rows(connection, {"the_name": f"many {number}"})] == [
                (number + 1000,)
            ]

    await database.write(change)
    with pytest.raises(KeyError, match="the_name"):
        await database.write(lambda connection: RAISE.run_for_each(connection, [{"by": 1}]))
    await database.close()


async def test_looks_for_any_number_of_values(place: Path | str) -> None:
    database = Database(place)
    await database.open()

    def look(connection: sa.Connection) -> None:
        ADD.run_for_each(connection, rows(50))
        assert VALUES.rows(connection, []) == []
        assert [tuple(row) for row in VALUES.rows(connection, [7])] == [("many 7",)]
        found = VALUES.rows(connection, range(20, VALUES_AT_ONCE + 30))
        assert sorted(name for (name,) in found) == sorted(f"many {number}" for number in range(20, 50))

    await database.write(look)
    await database.close()
