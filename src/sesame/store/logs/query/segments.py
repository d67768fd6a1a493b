"""Sealed logs as Parquet, laid out for queries: sorted by time, with a column for each frequent field.

The store that seals calls `write_segment`; `relation` opens the result. A field's column is `c:` and its
name, encoded so that names that differ only in case stay distinct, unlike in DuckDB. Rare fields share the
JSON column `rest`. Tags are a JSON column too. Values are stored as they were sent: an index may change later.
"""

import functools
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import duckdb
import msgspec

from sesame.store.logs.query.literals import literal, name
from sesame.store.logs.query.rows import LogRow, Pairs

# A field has its own column if at least one log in this many has it; the most frequent fields get columns first.
ONE_LOG_IN = 100
COLUMNS_MAX = 200
# DuckDB skips groups of rows whose times or values cannot match, and each thread processes a group.
GROUP_ROWS = 65_536
INSERTED_TOGETHER = 20_000

_BASE = ("seq", "time_s", "time_ns", "topic", "source", "tags", "rest")
_TYPES = {"seq": "BIGINT", "time_s": "BIGINT", "time_ns": "INTEGER"}
_CAPITAL = re.compile(r"[A-Z^]")
_MARKED = re.compile(r"\^(.)")


class Segment(msgspec.Struct, frozen=True):
    """A Parquet file: its number of logs, first and last time, fields with columns, and whether there are others.

    `checksum` is that of the file's bytes, if its writer has set it.
    """

    path: str
    rows: int
    first_s: int
    last_s: int
    fields: tuple[str, ...]
    has_rest: bool
    checksum: int | None = None


class Layout(msgspec.Struct, frozen=True):
    """The fields with columns of their own, and whether there are others."""

    fields: tuple[str, ...]
    has_rest: bool


def column_of(field: str) -> str:
    """The name of a field's column. DuckDB ignores the case of names, so `^` marks a capital."""
    return "c:" + _CAPITAL.sub(lambda found: "^" + found[0].lower() if found[0] != "^" else "^^", field)


def field_of(column: str) -> str:
    """The field of a column."""
    return _MARKED.sub(lambda found: found[1].upper(), column.removeprefix("c:"))


def layout_of(rows: Sequence[LogRow]) -> Layout:
    counts = Counter(key for row in rows for key in dict(row.contents))
    enough = max(1, len(rows) // ONE_LOG_IN)
    frequent = tuple(key for key, count in counts.most_common(COLUMNS_MAX) if count >= enough)
    return Layout(frequent, has_rest=len(frequent) < len(counts))


def write_segment(path: Path, rows: Iterable[LogRow]) -> Segment:
    """Writes the file; blocks. The caller syncs it to the disk and renames it."""
    rows = sorted(rows, key=_time_and_seq)
    layout = layout_of(rows)
    with duckdb.connect(config={"threads": 1}) as connection:
        fill(connection, "segment", rows, layout)
        options = f"FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE {GROUP_ROWS}"
        connection.execute(f"COPY segment TO {literal(str(path))} ({options})")
    first, last = rows[0].time_s, rows[-1].time_s
    return Segment(str(path), len(rows), first, last, layout.fields, layout.has_rest)


def _time_and_seq(row: LogRow) -> tuple[int, int]:
    return row.time_s, row.seq


def fill(connection: duckdb.DuckDBPyConnection, table: str, rows: Sequence[LogRow], layout: Layout) -> None:
    """Creates a temporary table of the rows with the columns of a segment."""
    columns = [*_BASE, *map(column_of, layout.fields)]
    types = [_TYPES.get(column, "VARCHAR") for column in columns]
    declared = ", ".join(f"{name(column)} {kind}" for column, kind in zip(columns, types, strict=True))
    connection.execute(f"CREATE TEMP TABLE {table} ({declared})")
    # One list per column is the fastest way from Python to DuckDB without another library.
    unnested = ", ".join(f"unnest(?::{kind}[])" for kind in types)
    for start in range(0, len(rows), INSERTED_TOGETHER):
        part = rows[start : start + INSERTED_TOGETHER]
        connection.execute(f"INSERT INTO {table} SELECT {unnested}", _columns(part, layout))


def _columns(rows: Sequence[LogRow], layout: Layout) -> list[list[Any]]:
    contents = [dict(row.contents) for row in rows]
    base: list[list[Any]] = [[getattr(row, column) for row in rows] for column in _BASE[:5]]
    base.append([_tags_json(row.tags) for row in rows])
    fields = [[each.pop(field, None) for each in contents] for field in layout.fields]
    base.append([msgspec.json.encode(each).decode() if each else None for each in contents])
    return base + fields


@functools.lru_cache(maxsize=256)
def _tags_json(tags: Pairs) -> str | None:
    return msgspec.json.encode(dict(tags)).decode() if tags else None
