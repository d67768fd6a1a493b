"""Opens a query's logs in DuckDB as the view `logs`, and writes the fields of a log in SQL.

Used only by `engine`.
"""

from collections.abc import Sequence

import duckdb
import msgspec

from sesame.store.logs.query.literals import literal, name, pointer
from sesame.store.logs.query.rows import LogRow
from sesame.store.logs.query.segments import Layout, Segment, column_of, fill, layout_of

TAG = "__tag__:"
_NOTHING = Layout((), has_rest=False)


class Source(msgspec.Struct, frozen=True):
    """The sealed segments within a query's time, and the logs that are not sealed yet."""

    segments: tuple[Segment, ...] = ()
    tail: tuple[LogRow, ...] = ()


class Fields(msgspec.Struct, frozen=True):
    """The fields of the logs in the view, and the expressions for their values: text, or NULL if absent."""

    # Fields that are a column in every part, or absent there.
    columns: tuple[str, ...] = ()
    # Fields that are a column in some parts, and inside `rest` in others.
    mixed: tuple[str, ...] = ()
    has_rest: bool = False

    def value(self, field: str) -> str:
        if field in self.columns:
            return name(column_of(field))
        if not self.has_rest:
            return "CAST(NULL AS VARCHAR)"
        among_rest = f"json_extract_string(rest, {literal(pointer(field))})"
        return f"coalesce({name(column_of(field))}, {among_rest})" if field in self.mixed else among_rest

    @property
    def with_column(self) -> tuple[str, ...]:
        return self.columns + self.mixed

    @staticmethod
    def tag(tag: str) -> str:
        return f"json_extract_string(tags, {literal(pointer(tag))})"


def open_relation(connection: duckdb.DuckDBPyConnection, source: Source) -> Fields:
    """Creates the view `logs`, which only this connection has."""
    parts: list[str] = []
    layouts: list[Layout] = [Layout(each.fields, each.has_rest) for each in source.segments]
    if source.segments:
        paths = ", ".join(literal(each.path) for each in source.segments)
        parts.append(f"SELECT * FROM read_parquet([{paths}], union_by_name=true, hive_partitioning=false)")
    if source.tail or not source.segments:
        layout = layout_of(source.tail) if source.tail else _NOTHING
        layouts.append(layout)
        fill(connection, "tail", source.tail, layout)
        parts.append("SELECT * FROM tail")
    connection.execute(f"CREATE TEMP VIEW logs AS {' UNION ALL BY NAME '.join(parts)}")
    return _fields(layouts)


def _fields(layouts: Sequence[Layout]) -> Fields:
    known = dict.fromkeys(field for layout in layouts for field in layout.fields)
    with_rest = [frozenset(layout.fields) for layout in layouts if layout.has_rest]
    columns = tuple(field for field in known if all(field in fields for fields in with_rest))
    mixed = tuple(field for field in known if field not in columns)
    return Fields(columns, mixed, has_rest=bool(with_rest))
