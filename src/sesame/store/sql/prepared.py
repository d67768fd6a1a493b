"""Statements that are compiled once for each database and then passed directly to its driver.

Used by `store.queue`, the hot path of asynchronous invocations, where SQLAlchemy's overhead for each execution and row
costs more than the database itself. Parameters and results are the driver's: a truth value may be 0 or 1.

A change of many rows is a few statements with many rows each. One statement per row would make SQLite's driver release
and reacquire the interpreter's lock for each row, and make PostgreSQL answer each over the network.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain
from operator import itemgetter
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy.dialects.sqlite import Insert
from sqlalchemy.sql import visitors

from sesame.store.sql.dialect import array_type
from sesame.store.sql.driver import POSTGRESQL, execute

Parameters = Mapping[str, Any]
# SQLite has one statement for each number of rows up to the first, and for each power of two up to the second.
ROWS_EXACTLY, ROWS_AT_ONCE = 16, 64
# A statement has at most this many values, because databases limit the parameters of one. A power of two.
VALUES_AT_ONCE = 1024
# The name under which a statement refers to the rows that it is run for.
_GIVEN = "given"


class Prepared:
    """Every execution must pass every parameter without a value of its own: a missing one is a `KeyError`."""

    def __init__(self, statement: sa.sql.expression.Executable) -> None:
        self._statement = statement
        self._compiled: dict[str, tuple[str, Callable[[Parameters], tuple[Any, ...]]]] = {}

    def rows(self, connection: sa.Connection, parameters: Parameters) -> Sequence[Any]:
        """Runs a SELECT, or a change with RETURNING, and returns its rows."""
        found = self._compiled.get(connection.dialect.name)
        if found is None:
            found = self._compiled[connection.dialect.name] = self._compile(connection.dialect)
        sql, in_order = found
        return execute(connection, sql, in_order(parameters)).rows

    def _compile(self, dialect: sa.Dialect) -> tuple[str, Callable[[Parameters], tuple[Any, ...]]]:
        assert isinstance(self._statement, sa.ClauseElement)
        compiled = self._statement.compile(dialect=dialect)
        assert isinstance(compiled, sa.sql.compiler.SQLCompiler)
        names = compiled.positiontup or []
        constants = {name: bind.value for name, bind in compiled.binds.items() if not bind.required}
        return str(compiled), _ordering(names, constants)


class PreparedList:
    """A SELECT for a list of values: `statement` builds it from its parameters, whose number is a power of two."""

    def __init__(self, statement: "Callable[[Sequence[sa.BindParameter[int]]], sa.Select[Any]]") -> None:
        self._statement = statement
        self._of_size: dict[int, Prepared] = {}

    def rows(self, connection: sa.Connection, values: Sequence[int]) -> list[Any]:
        """In the database's order; each row once if `values` has no duplicates."""
        found: list[Any] = []
        for start in range(0, len(values), VALUES_AT_ONCE):
            found += self._some(connection, values[start : start + VALUES_AT_ONCE])
        return found

    def _some(self, connection: sa.Connection, values: Sequence[int]) -> Sequence[Any]:
        """If there are fewer values than parameters, the last value is repeated."""
        size = 1 << (len(values) - 1).bit_length()
        names = [f"value_{number}" for number in range(size)]
        prepared = self._of_size.get(size)
        if prepared is None:
            binds = [sa.bindparam(name, type_=sa.BigInteger) for name in names]
            prepared = self._of_size[size] = Prepared(self._statement(binds))
        padded = [*values, *[values[-1]] * (size - len(values))]
        return prepared.rows(connection, dict(zip(names, padded, strict=True)))


class PreparedRows:
    """An INSERT, or an UPDATE of the one row that its parameters identify, run for many rows at once.

    `columns` are those that an INSERT sets. Every parameter of an UPDATE has a type.
    """

    def __init__(self, statement: "Insert | sa.Update", columns: Sequence[str] = ()) -> None:
        self._one = statement
        self._columns = columns
        self._many: _Many | None = None
        self._compiled: dict[tuple[str, int], str] = {}

    def run_for_each(self, connection: sa.Connection, rows: Sequence[Parameters]) -> int:
        """Returns how many rows were inserted or changed. `rows` may be empty, but no two may identify the same row."""
        changed = 0
        in_order_of = self._prepared().in_order
        in_order = [in_order_of(row) for row in rows]
        if connection.dialect.name == POSTGRESQL:
            if in_order:
                columns = tuple(list(values) for values in zip(*in_order, strict=True))
                changed = execute(connection, self._sql(connection.dialect, 0), columns).changed
            return changed
        for start, size in _portions(len(in_order)):
            values = tuple(chain.from_iterable(in_order[start : start + size]))
            changed += execute(connection, self._sql(connection.dialect, size), values).changed
        return changed

    def _sql(self, dialect: sa.Dialect, size: int) -> str:
        """For `size` rows on SQLite; for any number on PostgreSQL, where each parameter is an array."""
        key = dialect.name, size
        found = self._compiled.get(key)
        if found is None:
            many = self._prepared()
            changing = many.statement.compile(dialect=dialect, compile_kwargs={"literal_binds": True})
            names = ", ".join(column.name for column in many.given)
            found = self._compiled[key] = f"WITH {_GIVEN} ({names}) AS ({self._source(size)}) {changing}"
        return found

    def _source(self, size: int) -> str:
        if not size:
            arrays = (
                f"${number}::{array_type(column.type)}" for number, column in enumerate(self._prepared().given, 1)
            )
            return f"SELECT * FROM unnest({', '.join(arrays)})"
        one = f"({', '.join('?' * len(self._prepared().given))})"
        return "VALUES " + ", ".join([one] * size)

    def _prepared(self) -> "_Many":
        """Built on first use: most processes run few of these statements, or none."""
        if self._many is None:
            self._many = _many(self._one, self._columns)
        return self._many


class _Many(msgspec.Struct, frozen=True):
    """A statement over many rows of the columns `given`; `in_order` extracts their values from a row's parameters."""

    statement: Any
    given: "Sequence[sa.ColumnClause[Any]]"
    in_order: Callable[[Parameters], tuple[Any, ...]]


def _many(one: "Insert | sa.Update", columns: Sequence[str]) -> _Many:
    given: dict[str, sa.ColumnClause[Any]] = {}
    if isinstance(one, Insert):
        given = {name: sa.column(name, one.table.c[name].type) for name in columns}
        source = sa.table(_GIVEN, *given.values())
        # Without a condition, SQLite would parse ON CONFLICT as part of the SELECT.
        statement: Any = one.from_select(columns, sa.select(*source.c).where(sa.true()))
    else:
        statement = visitors.replacement_traverse(one, {}, _replacing(given))
    return _Many(statement, list(given.values()), itemgetter(*given))


def _replacing(given: "dict[str, sa.ColumnClause[Any]]") -> Callable[..., Any]:
    """Replaces each parameter by a column of the given rows, and collects these columns."""
    source = sa.table(_GIVEN)

    def replace(element: Any, **_kw: Any) -> Any:
        if not isinstance(element, sa.BindParameter) or not element.required:
            return None
        if element.key not in given:
            assert not isinstance(element.type, sa.types.NullType), element.key
            given[element.key] = sa.column(element.key, element.type)
            source.append_column(given[element.key])
        return source.c[element.key]

    return replace


def _portions(number: int) -> Iterator[tuple[int, int]]:
    """The start of each statement's rows, and their number."""
    start = 0
    while start < number:
        left = number - start
        size = left if left <= ROWS_EXACTLY else min(ROWS_AT_ONCE, 1 << (left.bit_length() - 1))
        yield start, size
        start += size


def _ordering(names: Sequence[str], constants: Parameters) -> Callable[[Parameters], tuple[Any, ...]]:
    if len(names) < 2:
        return lambda parameters: tuple({**constants, **parameters}[name] for name in names)
    chosen = itemgetter(*names)
    if not constants:
        return chosen
    return lambda parameters: chosen({**constants, **parameters})
