"""Creates the tables of asynchronous invocations and of records on their way to destinations.

Run by Alembic when a database is new or older. Does not import the present schema, so that it stays as it was.
"""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "async_invocations",
        _number(),
        *(_text(name) for name in ("service", "function", "qualifier", "invocation_id", "request_id")),
        sa.Column("stateful", sa.Boolean, nullable=False),
        _text("source"),
        _text("state"),
        sa.Column("due_at", sa.Float),
        sa.Column("enqueued_at", sa.Float, nullable=False),
        sa.Column("expires_at", sa.Float, nullable=False),
        _count("epoch"),
        _text("holder", server_default=""),
        _count("attempts"),
        _count("throttles"),
        sa.Column("started_at", sa.Float),
        sa.Column("ended_at", sa.Float),
        sa.Column("duration_ms", sa.Float, nullable=False, server_default="0"),
        *(_text(name, server_default="") for name in ("instance_id", "error", "destination_status", "events")),
        sa.Column("meta", sa.LargeBinary),
        sa.Column("return_payload", sa.LargeBinary),
        sa.Column("payload", sa.LargeBinary, nullable=False),
        sqlite_autoincrement=True,
    )
    function = ["service", "function", "qualifier"]
    _partial_index("async_invocations", "by_id", [*function, "invocation_id"], "stateful", unique=True)
    _partial_index("async_invocations", "due", ["due_at", "seq"], "due_at IS NOT NULL")
    op.create_index("async_invocations_by_state", "async_invocations", ["state", "enqueued_at", "seq"])
    _partial_index("async_invocations", "of_function", [*function, "state", "enqueued_at", "seq"], "stateful")
    op.create_table(
        "async_deliveries",
        _number(),
        sa.Column("invocation_seq", sa.BigInteger, nullable=False),
        *(_text(name) for name in ("service", "function", "qualifier", "invocation_id", "request_id")),
        _text("destination"),
        _text("condition"),
        sa.Column("due_at", sa.Float),
        sa.Column("created_at", sa.Float, nullable=False),
        _count("epoch"),
        _text("holder", server_default=""),
        _count("attempts"),
        _text("error", server_default=""),
        sa.Column("buried_at", sa.Float),
        sa.Column("record", sa.LargeBinary, nullable=False),
        sqlite_autoincrement=True,
    )
    _partial_index("async_deliveries", "due", ["due_at", "seq"], "due_at IS NOT NULL")
    _partial_index("async_deliveries", "held", ["seq"], "holder <> ''")
    _partial_index("async_deliveries", "buried", ["seq"], "buried_at IS NOT NULL")


def downgrade() -> None:
    op.drop_table("async_deliveries")
    op.drop_table("async_invocations")


def _number() -> "sa.Column[Any]":
    return sa.Column("seq", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True)


def _count(name: str) -> "sa.Column[Any]":
    return sa.Column(name, sa.Integer, nullable=False, server_default="0")


def _text(name: str, server_default: str | None = None) -> "sa.Column[Any]":
    kind = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
    return sa.Column(name, kind, nullable=False, server_default=server_default)


def _partial_index(table: str, name: str, columns: list[str], where: str, *, unique: bool = False) -> None:
    condition = sa.text(where)
    op.create_index(
        f"{table}_{name}", table, columns, unique=unique, sqlite_where=condition, postgresql_where=condition
    )
