"""The tables of asynchronous invocations and of records on their way to destinations.

Used by `store.queue`; created by `store/sql/migrations`. Which index serves which statement is held by
tests/store/queue/test_plans.py.
"""

from typing import Any

import sqlalchemy as sa

from sesame.store.sql.dialect import COUNTER, TEXT
from sesame.store.sql.schema import metadata

# As in the conditions of the indexes, so that a query which says the same may use them.
STATEFUL = sa.text("stateful")
_DUE = sa.text("due_at IS NOT NULL")
_HELD = sa.text("holder <> ''")
_BURIED = sa.text("buried_at IS NOT NULL")


def _invocation_columns() -> list["sa.Column[Any]"]:
    """Which invocation a row is, or is about."""
    names = ("service", "function", "qualifier", "invocation_id", "request_id")
    return [sa.Column(name, TEXT, nullable=False) for name in names]


def _lease_columns() -> list["sa.Column[Any]"]:
    """Beside `due_at`: who holds a row, and how often it was tried."""
    return [
        sa.Column("epoch", sa.Integer, nullable=False, server_default="0"),
        sa.Column("holder", TEXT, nullable=False, server_default=""),
        sa.Column("attempts", sa.Integer, nullable=False, server_default="0"),
    ]


def _index_where(condition: sa.TextClause, name: str, *columns: str, unique: bool = False) -> sa.Index:
    """Of the rows for which the condition holds.

    The condition is given for SQLite alone: it would have SQLAlchemy import the dialect for PostgreSQL at every start,
    and tables there are made by migrations, which have it.
    """
    return sa.Index(name, *columns, unique=unique, sqlite_where=condition)


# `due_at` (of store.queue.clock, as `expires_at`) is when the next claim may take the row: when it has waited long
# enough, or when its lease ends. NULL once the invocation has ended, which takes the row out of the index of claims.
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
    # Of the whole result, where only the beginning of it is kept.
    sa.Column("return_bytes", sa.BigInteger),
    sa.Column("payload", sa.LargeBinary, nullable=False),
    # Of stateful invocations, whose ids are their callers'. The other ids are random and made by Sesame: to look for
    # each among a million would cost as much as all else that accepting does.
    _index_where(STATEFUL, "async_invocations_by_id", "service", "function", "qualifier", "invocation_id", unique=True),
    _index_where(_DUE, "async_invocations_due", "due_at", "seq"),
    sa.Index("async_invocations_by_state", "state", "enqueued_at", "seq"),
    _index_where(
        STATEFUL, "async_invocations_of_function", "service", "function", "qualifier", "state", "enqueued_at", "seq"
    ),
    sqlite_autoincrement=True,
)

# A record that is to be sent. `due_at` as above; a dead letter has none and has `buried_at`. A record that was
# delivered is deleted.
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
