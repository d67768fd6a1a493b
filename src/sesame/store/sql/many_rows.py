"""Runs one statement for many rows with little work in Python for each.

Used by `store.queue`, whose rows are the hot path of asynchronous invocations. SQLAlchemy compiles the statement once
for each database; what it would do for each row afterwards costs as much as the database itself.
"""

from collections.abc import Mapping, Sequence
from operator import itemgetter
from typing import Any

import sqlalchemy as sa


class ManyRows:
    """An INSERT, UPDATE or DELETE without RETURNING. Each row gives every parameter, as the driver takes it.

    `columns` are those that an INSERT sets, where it does not say so itself.
    """

    def __init__(self, statement: sa.Insert | sa.Update | sa.Delete, columns: Sequence[str] | None = None) -> None:
        self._statement = statement
        self._columns = columns
        self._compiled: dict[str, tuple[str, Any, dict[str, Any]]] = {}

    def execute(self, connection: sa.Connection, rows: Sequence[Mapping[str, Any]]) -> None:
        if not rows:
            return
        name = connection.dialect.name
        found = self._compiled.get(name)
        if found is None:
            found = self._compiled[name] = self._compile(connection.dialect)
        sql, in_order, constants = found
        connection.exec_driver_sql(sql, [in_order({**constants, **row}) for row in rows])

    def _compile(self, dialect: sa.Dialect) -> tuple[str, Any, dict[str, Any]]:
        compiled = self._statement.compile(dialect=dialect, column_keys=self._columns)
        names = compiled.positiontup
        assert names, "the drivers' parameters have an order"
        constants = {name: bind.value for name, bind in compiled.binds.items() if not bind.required}
        return str(compiled), itemgetter(*names), constants
