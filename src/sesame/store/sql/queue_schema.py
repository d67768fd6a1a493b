"""The tables of asynchronous invocations and of records on their way to destinations.

Used by `store.queue`; created by `store/sql/migrations`. tests/store/queue/test_plans.py checks which index serves
which statement.
"""

from typing import Any

import sqlalchemy as sa

from sesame.store.sql.dialect import COUNTER, TEXT
from sesame.store.sql.schema import metadata

# Written as in the conditions of the indexes, so that a query with the same condition can use them.
STATEFUL = sa.text("stateful")
_DUE = sa.text("due_at IS NOT NULL")
_HELD = sa.text("holder <> ''")
_BURIED = sa.text("buried_at IS NOT NULL")


def _invocation_columns() -> list["sa.Column[Any]"]:
    """Columns that identify the invocation of a row."""
    names = ("service", "function", "qualifier", "invocation_id", "request_id")
    return [sa.Column(name, TEXT, nullable=False) for name in names]


def _lease_columns() -> list["sa.Column[Any]"]:
    """Besides `due_at`: the holder of a row, and how often it was claimed."""
    return [
        sa.Column("epoch", sa.Integer, nullable=False, server_default="0"),
        sa.Column("holder", TEXT, nullable=False, server_default=""),
        sa.Column("attempts", sa.Integer, nullable=False, server_default="0"),
    ]


def _index_where(condition: sa.TextClause, name: str, *columns: str, unique: bool = False) -> sa.Index:
    """An index of the rows for which the condition holds.

    The condition is given only for SQLite: for PostgreSQL it would make SQLAlchemy import that dialect at every start,
    and tables there are created by migrations, which contain it.
    """
    return sa.Index(name, *columns, unique=unique, sqlite_where=condition)


# `due_at` (of store.queue.clock, like `expires_at`) is when the next claim may take the row: when it has waited long
# enough, or when its lease ends. NULL once the invocation has ended, which removes the row from the index of claims.
# `enqueued_at`, `started_at` and `ended_at` are of the wall clock. `events` is text of store.queue.events.
invocations = sa.Table(
    "async_invocations",
    metadata,
    sa.Column("seq", COUNTER, primary_key=True),
    *_invocation_columns(),
    sa.Column("stateful", sa.Boolean, nullable=False),
    sa.Column("source", TEXT, nullable=False),
    sa.Column("state", TEXT, nullable=False),
    sa.Column("due_at", sa.Float),
    sa.Column("enqueued_at", sa.Float, nullable=False),
    sa.Column("expires_at", sa.Float, nullable=False),
    *_lease_columns(),
    sa.Column("throttles", sa.Integer, nullable=False, server_default="0"),
    sa.Column("started_at", sa.Float),
    sa.Column("ended_at", sa.Float),
    sa.Column("duration_ms", sa.Float, nullable=False, server_default="0"),
    sa.Column("instance_id", TEXT, nullable=False, server_default=""),
    sa.Column("error", TEXT, nullable=False, server_default=""),
    sa.Column("destination_status", TEXT, nullable=False, server_default=""),
    sa.Column("events", TEXT, nullable=False, server_default=""),
    sa.Column("meta", sa.LargeBinary),
    sa.Column("return_payload", sa.LargeBinary),
    # The size of the whole result, if only its beginning is stored.
    sa.Column("return_bytes", sa.BigInteger),
    sa.Column("payload", sa.LargeBinary, nullable=False),
    # Only stateful invocations have ids chosen by callers. Other ids are random and made by Sesame: checking each of
    # them against a million would cost as much as all other work of accepting.
    _index_where(STATEFUL, "async_invocations_by_id", "service", "function", "qualifier", "invocation_id", unique=True),
    _index_where(_DUE, "async_invocations_due", "due_at", "seq"),
    sa.Index("async_invocations_by_state", "state", "enqueued_at", "seq"),
    _index_where(
        STATEFUL, "async_invocations_of_function", "service", "function", "qualifier", "state", "enqueued_at", "seq"
    ),
    sqlite_autoincrement=True,
)

# A record to be sent. `due_at` as above; a dead letter has none and has `buried_at`. Delivered records are
# deleted.
deliveries = sa.Table(
    "async_deliveries",
    metadata,
    sa.Column("seq", COUNTER, primary_key=True),
    sa.Column("invocation_seq", sa.BigInteger, nullable=False),
    *_invocation_columns(),
    sa.Column("destination", TEXT, nullable=False),
    sa.Column("condition", TEXT, nullable=False),
    sa.Column("due_at", sa.Float),
    sa.Column("created_at", sa.Float, nullable=False),
    *_lease_columns(),
    sa.Column("error", TEXT, nullable=False, server_default=""),
    sa.Column("buried_at", sa.Float),
    sa.Column("record", sa.LargeBinary, nullable=False),
    _index_where(_DUE, "async_deliveries_due", "due_at", "seq"),
    _index_where(_HELD, "async_deliveries_held", "seq"),
    _index_where(_BURIED, "async_deliveries_buried", "seq"),
    sqlite_autoincrement=True,
)
