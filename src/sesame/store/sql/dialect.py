"""Column types and statements that differ between SQLite and PostgreSQL; each compiles for the database it runs on.

Used by the schemas and by every store for its statements. Everything else is plain SQLAlchemy Core:
`returning`, `with_for_update(skip_locked=True)` (omitted on SQLite, which has one writer) and partial indexes
(in migrations `sqlite_where` beside `postgresql_where`) work on both. Importing this imports no PostgreSQL dialect.
"""

from collections import deque
from collections.abc import Sequence
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.dialects.sqlite import Insert, insert
from sqlalchemy.dialects.sqlite.dml import OnConflictClause
from sqlalchemy.ext.compiler import compiles

from sesame.store.sql.driver import SQLITE, execute

T = TypeVar("T")

# Makes SQLite's clause compile for PostgreSQL, which could name a constraint instead of columns. PostgreSQL's clause
# would compile for SQLite without this, but importing its dialect takes a twelfth of a start.
setattr(OnConflictClause, "constraint_target", None)  # noqa: B010 - SQLAlchemy 2.1 declares it no more


class _PostgresqlText(sa.TypeDecorator[str]):
    impl = sa.Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: sa.Dialect) -> str | None:
        return storable_text(value)


def storable_text(value: T) -> T | str:
    """The value as PostgreSQL can store it: text without NUL, anything else unchanged."""
    return value.replace("\0", "\N{REPLACEMENT CHARACTER}") if isinstance(value, str) and "\0" in value else value


# Text compared and sorted by code points, as in Python. PostgreSQL's default follows the rules of a language. It cannot
# store NUL, which callers may put into names and functions into messages: U+FFFD replaces it.
TEXT = sa.Text().with_variant(_PostgresqlText(collation="C"), "postgresql")
# A number that only increases, such as a revision. As the primary key of a table with `sqlite_autoincrement=True`, the
# database assigns it to each new row. SQLite's INTEGER has 64 bits, and is the only type that it numbers by itself.
COUNTER = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upsert(table: sa.Table) -> Insert:
    """Inserts a whole row, or replaces all of the row with the same primary key.

    SQLAlchemy's insert for SQLite compiles for PostgreSQL too: both databases have the same ON CONFLICT clause.
    """
    statement = insert(table)
    return statement.on_conflict_do_update(
        index_elements=list(table.primary_key.columns),
        set_={column.name: statement.excluded[column.name] for column in table.c if not column.primary_key},
    )


def insert_new(
    table: sa.Table, unique: Sequence["sa.Column[Any]"], where: "sa.ColumnElement[bool] | sa.TextClause | None" = None
) -> Insert:
    """Inserts a row unless another one has the same values in these columns, which must have a unique index.

    `where` is the condition of a partial index. With `.returning(…)`, only inserted rows are returned.
    """
    return insert(table).on_conflict_do_nothing(index_elements=list(unique), index_where=where)


# PostgreSQL's type names for arrays of parameters.
_ARRAYS: tuple[tuple[type[sa.types.TypeEngine[Any]], str], ...] = (
    (sa.Boolean, "boolean[]"),
    (sa.BigInteger, "bigint[]"),
    (sa.Integer, "integer[]"),
    (sa.Float, "double precision[]"),
    (sa.LargeBinary, "bytea[]"),
    (sa.Text, "text[]"),
)


def array_type(of: "sa.types.TypeEngine[Any]") -> str:
    """PostgreSQL's name for the type of an array of such values."""
    return next(name for kind, name in _ARRAYS if isinstance(of, kind))


# PostgreSQL's numbers are reserved in blocks of this size, so that a row needs no query of its own.
_NUMBERS_AT_ONCE = 256
_LAST_NUMBER = "SELECT seq FROM sqlite_sequence WHERE name = ?"
_NEXT_NUMBERS = "SELECT nextval(pg_get_serial_sequence($1, $2)) FROM generate_series(1, $3::int)"


class Numbers:
    """Numbers for new rows of a table before they are inserted: always increasing, and never repeated.

    They replace the database's own numbering of the column. Used by one thread.
    """

    def __init__(self, table: sa.Table, column: "sa.Column[int]") -> None:
        self._table = table.name
        self._column = column.name
        self._reserved: deque[int] = deque()

    def take(self, connection: sa.Connection, count: int) -> list[int]:
        """Call in the transaction that inserts the rows."""
        if connection.dialect.name == SQLITE:
            # SQLite stores the highest number of any inserted row, and has one writer.
            found = execute(connection, _LAST_NUMBER, (self._table,)).rows
            last = found[0][0] if found else 0
            return list(range(last + 1, last + 1 + count))
        reserved = self._reserved
        if len(reserved) < count:
            asked = (self._table, self._column, max(count, _NUMBERS_AT_ONCE))
            reserved.extend(number for (number,) in execute(connection, _NEXT_NUMBERS, asked).rows)
        return [reserved.popleft() for _ in range(count)]


class json_text(sa.sql.functions.FunctionElement[str]):
    """The text of a field of a JSON document stored as bytes: `json_text(column, "name")`; NULL if absent."""

    type = sa.Text()
    inherit_cache = True

    def __init__(self, document: "sa.Column[Any]", name: str) -> None:
        super().__init__(document, sa.literal_column(f"'{name}'"))


@compiles(json_text, "sqlite")
def _json_text_of_sqlite(element: json_text, compiler: sa.Compiled, **kw: Any) -> str:
    document, name = element.clauses
    path = sa.literal_column("'$.'").op("||")(name)
    return str(compiler.process(sa.func.json_extract(sa.cast(document, sa.Text), path), **kw))


@compiles(json_text, "postgresql")
def _json_text_of_postgresql(element: json_text, compiler: sa.Compiled, **kw: Any) -> str:
    document, name = element.clauses
    text = sa.func.convert_from(document, sa.literal_column("'UTF8'"))
    return str(compiler.process(sa.cast(text, sa.JSON).op("->>")(name), **kw))
