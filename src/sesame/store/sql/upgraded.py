"""Reads a database of an earlier version with the current tables, by migrating a copy of it.

Used by `store.upkeep`, which must not change what it checks and backs up.
"""

import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import sqlalchemy as sa

from sesame.model.errors import ConfigurationError
from sesame.store.sql.migrate import migrate, newest_migration, require_known, revision_of
from sesame.store.sql.sqlite import write_engine


@contextmanager
def as_of_today(connection: sa.Connection, shown: str) -> Iterator[sa.Connection]:
    """`connection` itself, or one to a temporary, upgraded copy of the state that it sees.

    `shown` names the database in messages. Raises `ConfigurationError` for a database of a newer version, and for one
    of an earlier version that is not a file.
    """
    require_known(connection, shown)
    found = revision_of(connection)
    if found == newest_migration():
        yield connection
        return
    raw = connection.connection.dbapi_connection
    if not isinstance(raw, sqlite3.Connection):
        raise ConfigurationError(
            f"{shown} is as an earlier Sesame left it (found schema {found}, expected {newest_migration()}): use that "
            "version, or start this one on it, which upgrades it"
        )
    with tempfile.TemporaryDirectory(prefix="sesame-upgraded-") as folder:
        copy = Path(folder, "copy.db")
        with closing(sqlite3.connect(copy)) as target:
            raw.backup(target)
        engine = write_engine(copy, durable=False)
        try:
            with engine.connect() as upgraded:
                migrate(upgraded, shown)
                upgraded.commit()
                yield upgraded
        finally:
            engine.dispose()
