"""Runs a statement directly on the database's driver, without SQLAlchemy's overhead for each execution.

Used by `store.sql.prepared` for the queue's statements, on the writer's connection and within its transaction.
"""

import sqlite3
from collections.abc import Sequence
from typing import Any

import msgspec
import sqlalchemy as sa

SQLITE, POSTGRESQL = "sqlite", "postgresql"


class Executed(msgspec.Struct, frozen=True):
    """The rows of a SELECT or RETURNING, and how many rows were inserted, changed or deleted."""

    rows: Sequence[Any]
    changed: int


def execute(connection: sa.Connection, sql: str, parameters: tuple[Any, ...]) -> Executed:
    """`sql` has the driver's placeholders. Raises the driver's errors on SQLite and SQLAlchemy's on PostgreSQL."""
    if connection.dialect.name == SQLITE:
        raw = connection.connection.driver_connection
        assert isinstance(raw, sqlite3.Connection)
        # The driver does not count rows of a statement that begins with WITH.
        before = raw.total_changes
        rows = raw.execute(sql, parameters).fetchall()
        return Executed(rows, raw.total_changes - before)
    result = connection.exec_driver_sql(sql, parameters)
    return Executed(result.fetchall() if result.returns_rows else (), result.rowcount)
