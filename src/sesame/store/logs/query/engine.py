"""Answers queries: searches, counts over time, and SQL, over the logs of a `Source`. Called by the store, on threads.

Every method blocks, uses memory and threads within its limits, and ends soon after `Interrupt.set`.
"""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import msgspec

from sesame.model.logstore import LogIndex
from sesame.store.logs.query import sql
from sesame.store.logs.query.columns import columns_of, view_of
from sesame.store.logs.query.conditions import Conditions
from sesame.store.logs.query.database import Database, Interrupt
from sesame.store.logs.query.duckdb_errors import refusal_of
from sesame.store.logs.query.literals import literal
from sesame.store.logs.query.macros import definitions
from sesame.store.logs.query.padding import take_padding
from sesame.store.logs.query.refusals import sql_error, too_large, too_long
from sesame.store.logs.query.relation import Fields, Source, open_relation
from sesame.store.logs.query.rows import LogRow
from sesame.store.logs.query.segments import GROUP_ROWS, field_of
from sesame.store.logs.query.tree import Parsed
from sesame.store.logs.query.values import text_of

# A search first reads this many logs, and twice as many each time that it finds too few.
FIRST_ROWS = 2 * GROUP_ROWS
FETCHED_TOGETHER = 1_000
# Memory of a value besides its text; without counting it, a result of empty texts would be unlimited.
VALUE_BYTES = 8


class Limits(msgspec.Struct, frozen=True):
    """Limits of all queries together, and of one result. `seconds` is only used in messages: the caller interrupts."""

    memory_mb: int = 1024
    threads: int = 2
    result_bytes: int = 64 * 1024 * 1024
    seconds: float = 55.0


class Search(msgspec.Struct, frozen=True):
    """A query, the index that it uses, the times from `from_s` to before `to_s`, and a topic."""

    parsed: Parsed
    index: LogIndex
    from_s: int
    to_s: int
    now_s: float
    topic: str = ""
    # The name of the logs in the statement, besides `log`.
    logstore: str = sql.LOG


class Page(msgspec.Struct, frozen=True):
    """The requested part of the logs, in order of time, or the latest first."""

    line: int = 100
    offset: int = 0
    reverse: bool = False


class Found(msgspec.Struct, frozen=True):
    """`complete` is False if the query was interrupted: other logs may match, too."""

    rows: tuple[LogRow, ...]
    complete: bool
    processed_rows: int


class Table(msgspec.Struct, frozen=True):
    """The result of SQL: names of columns, and rows of text."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    processed_rows: int


class LogQueries:
    """Answers queries over the segments in a folder, within limits. Several threads may use it at a time."""

    def __init__(self, folder: Path, limits: Limits) -> None:
        self._limits = limits
        self._database = Database(folder, memory_mb=limits.memory_mb, threads=limits.threads)

    def close(self) -> None:
        """Call it when no query runs. A later query opens the database again."""
        self._database.close()

    def search(self, search: Search, source: Source, page: Page, interrupt: Interrupt) -> Found:
        """The matching logs; if interrupted, those found so far."""
        rows: list[LogRow] = []
        processed = 0
        # Logs found before an interrupt are a valid answer.
        with contextlib.suppress(duckdb.InterruptException), self._opened(source, interrupt) as (connection, fields):
            condition = _condition(search, fields)
            order = "DESC" if page.reverse else "ASC"
            for first, last in _windows(search, source, page):
                wanted = page.line - len(rows)
                found = connection.execute(
                    f"SELECT * FROM logs WHERE time_s BETWEEN {first} AND {last} AND {condition} "
                    f"ORDER BY time_s {order}, seq {order} LIMIT {wanted} OFFSET {page.offset}"
                )
                names = [each[0] for each in found.description or ()]
                rows += (_log_row(names, values) for values in found.fetchall())
                processed += _count(connection, f"time_s BETWEEN {first} AND {last}")
                if len(rows) >= page.line:
                    break
        return Found(tuple(rows), complete=not interrupt.is_set, processed_rows=processed)

    def histogram(self, search: Search, source: Source, width_s: int, interrupt: Interrupt) -> dict[int, int]:
        """The number of matches by the start of their interval, a multiple of `width_s`; empty intervals are absent."""
        counts: dict[int, int] = {}
        with self._in_time(), self._opened(source, interrupt) as (connection, fields):
            found = connection.execute(
                f"SELECT time_s - time_s % {width_s} AS start, count(*) FROM logs WHERE {_condition(search, fields)} "
                "GROUP BY start ORDER BY start"
            )
            counts.update(found.fetchall())
        return counts

    def select(self, search: Search, source: Source, interrupt: Interrupt) -> Table:
        """The result of the SQL. Raises `QueryRefused`, also if it is interrupted."""
        assert search.parsed.sql is not None
        try:
            tree = sql.read(search.parsed.sql)
            return self._select(tree, search, source, interrupt)
        except RecursionError as error:
            raise sql_error("the statement is nested too deeply") from error

    def _select(self, tree: Any, search: Search, source: Source, interrupt: Interrupt) -> Table:
        sql.check_tables(tree, {sql.LOG, search.logstore})
        sql.add_from(tree)
        sql.bound_rows(tree)
        sql.name_columns(tree)
        with self._in_time(), self._opened(source, interrupt) as (connection, fields):
            columns = columns_of(search.index, fields)
            used = sql.check_columns(tree, columns)
            everything = sql.has_star(tree)
            padding = take_padding(tree)
            statement = sql.write(tree, search.now_s)
            if padding is not None:
                statement = padding.around(statement, search.from_s, search.to_s)
            for definition in definitions(statement):
                connection.execute(definition)
            connection.execute(view_of(columns, used, _condition(search, fields), everything=everything))
            found = connection.execute(statement)
            names = tuple(each[0] for each in found.description or ())
            rows = self._fetch(found)
            processed = _count(connection, _within(search))
        return Table(names, rows, processed)

    def _fetch(self, found: duckdb.DuckDBPyConnection) -> tuple[tuple[str, ...], ...]:
        rows: list[tuple[str, ...]] = []
        size = 0
        while part := found.fetchmany(FETCHED_TOGETHER):
            for values in part:
                rows.append(tuple(map(text_of, values)))
                size += sum(map(len, rows[-1])) + VALUE_BYTES * len(values)
            if size > self._limits.result_bytes:
                raise too_large(self._limits.result_bytes)
        return tuple(rows)

    @contextlib.contextmanager
    def _opened(self, source: Source, interrupt: Interrupt) -> Iterator[tuple[duckdb.DuckDBPyConnection, Fields]]:
        """A connection with the view `logs`. DuckDB's errors in the body are translated into refusals."""
        try:
            with self._database.connection(interrupt) as connection:
                yield connection, open_relation(connection, source)
        except duckdb.InterruptException:
            raise
        except duckdb.Error as error:
            raise refusal_of(error, self._limits.memory_mb) from error

    @contextlib.contextmanager
    def _in_time(self) -> Iterator[None]:
        """Refuses a query that is interrupted."""
        try:
            yield
        except duckdb.InterruptException as error:
            raise too_long(self._limits.seconds) from error


def _condition(search: Search, fields: Fields) -> str:
    topic = f" AND topic = {literal(search.topic)}" if search.topic else ""
    return f"{_within(search)}{topic} AND {Conditions(search.index, fields).of(search.parsed.search)}"


def _within(search: Search) -> str:
    return f"time_s >= {search.from_s} AND time_s < {search.to_s}"


def _count(connection: duckdb.DuckDBPyConnection, condition: str) -> int:
    found = connection.execute(f"SELECT count(*) FROM logs WHERE {condition}").fetchone()
    assert found is not None
    return int(found[0])


def _windows(search: Search, source: Source, page: Page) -> Iterator[tuple[int, int]]:
    """First and last second of the parts of the time that a search reads, one after the other.

    A search that finds enough in the first part need not read the others. There is only one part if there are few
    logs, or if an offset must be counted.
    """
    first = max(search.from_s, min((each.first_s for each in source.segments), default=search.to_s))
    last = min(search.to_s - 1, max((each.last_s for each in source.segments), default=search.from_s))
    if source.tail:
        first = max(search.from_s, min(first, *(row.time_s for row in source.tail)))
        last = min(search.to_s - 1, max(last, *(row.time_s for row in source.tail)))
    if last < first:
        return
    rows = sum(each.rows for each in source.segments) + len(source.tail)
    width = last - first + 1 if page.offset or rows <= 2 * FIRST_ROWS else (last - first + 1) * FIRST_ROWS // rows
    start = last if page.reverse else first
    while first <= start <= last:
        end = start - max(width, 1) if page.reverse else start + max(width, 1)
        yield (max(end + 1, first), start) if page.reverse else (start, min(end - 1, last))
        start, width = end, width * 2


def _log_row(names: list[str], values: tuple[Any, ...]) -> LogRow:
    fields = dict(zip(names, values, strict=True))
    contents = [
        (field_of(name), value) for name, value in fields.items() if name.startswith("c:") and value is not None
    ]
    if fields["rest"]:
        contents += msgspec.json.decode(fields["rest"], type=dict[str, str]).items()
    tags = msgspec.json.decode(fields["tags"], type=dict[str, str]) if fields["tags"] else {}
    return LogRow(
        fields["seq"],
        fields["time_s"],
        fields["time_ns"],
        fields["topic"],
        fields["source"],
        tuple(tags.items()),
        tuple(contents),
    )
