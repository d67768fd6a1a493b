"""Statements that are compiled once for each database and then handed to its driver as they are.

Used by `store.queue`, the hot path of asynchronous invocations: what SQLAlchemy does for each execution and each row
costs more there than the database itself. Parameters and results are the driver's: a truth value may be 0 or 1.
"""

from collections.abc import Callable, Mapping, Sequence
from operator import itemgetter
from typing import Any

import sqlalchemy as sa

Parameters = Mapping[str, Any]


class Prepared:
    """Every execution gives every parameter that has no value of its own: a missing one is a `KeyError`.

    `columns` are those that an INSERT sets, where it does not say so itself.
    """

    def __init__(self, statement: sa.sql.expression.Executable, columns: Sequence[str] | None = None) -> None:
        assert isinstance(statement, sa.ClauseElement)
        self._statement = statement
        self._columns = columns
        self._compiled: dict[str, tuple[str, Callable[[Parameters], tuple[Any, ...]]]] = {}

    def rows(self, connection: sa.Connection, parameters: Parameters) -> Sequence["sa.Row[Any]"]:
        """Runs a SELECT, or a change with RETURNING, and gives its rows."""
        sql, in_order = self._for(connection.dialect)
        return connection.exec_driver_sql(sql, in_order(parameters)).fetchall()

    def run_for_each(self, connection: sa.Connection, parameters: Sequence[Parameters]) -> None:
        """Runs a change without RETURNING once for each; none is fine."""
        if parameters:
            sql, in_order = self._for(connection.dialect)
            connection.exec_driver_sql(sql, [in_order(each) for each in parameters])

    def _for(self, dialect: sa.Dialect) -> tuple[str, Callable[[Parameters], tuple[Any, ...]]]:
        found = self._compiled.get(dialect.name)
        if found is None:
            found = self._compiled[dialect.name] = self._compile(dialect)
        return found

    def _compile(self, dialect: sa.Dialect) -> tuple[str, Callable[[Parameters], tuple[Any, ...]]]:
        compiled = self._statement.compile(dialect=dialect, column_keys=self._columns)
        assert isinstance(compiled, sa.sql.compiler.SQLCompiler)
        names = compiled.positiontup or []
        constants = {name: bind.value for name, bind in compiled.binds.items() if not bind.required}
        return str(compiled), _ordering(names, constants)


def _ordering(names: Sequence[str], constants: Parameters) -> Callable[[Parameters], tuple[Any, ...]]:
    if len(names) < 2:
        return lambda parameters: tuple({**constants, **parameters}[name] for name in names)
    chosen = itemgetter(*names)
    if not constants:
        return chosen
    return lambda parameters: chosen({**constants, **parameters})
