"""Databases as earlier versions left them: the tables of a former schema, and of today's rows what fits into them."""

import sqlite3
from contextlib import closing
from pathlib import Path

from alembic import command
from alembic.config import Config

from sesame.store.sql.migrate import MIGRATIONS, VERSION_TABLE
from sesame.store.sql.sqlite import companions, make_single_file, write_engine


def set_back(path: Path, schema: str) -> None:
    """Puts one in the place of a database that nobody has open."""
    earlier = path.with_name("earlier.db")
    engine = write_engine(earlier, durable=False)
    with engine.connect() as connection:
        config = Config()
        config.set_main_option("script_location", str(MIGRATIONS))
        config.attributes["connection"] = connection
        command.upgrade(config, schema)
        connection.commit()
    engine.dispose()
    with closing(sqlite3.connect(earlier, isolation_level=None)) as writer:
        writer.execute("ATTACH ? AS today", (str(path),))
        tables = {name for (name,) in writer.execute("SELECT name FROM main.sqlite_master WHERE type = 'table'")}
        now = {name for (name,) in writer.execute("SELECT name FROM today.sqlite_master WHERE type = 'table'")}
        for table in sorted(tables & now - {VERSION_TABLE, "sqlite_sequence"}):
            columns = ", ".join(
                f'"{name}"' for name in _columns(writer, "main", table) & _columns(writer, "today", table)
            )
            writer.execute(f"INSERT OR REPLACE INTO main.{table} ({columns}) SELECT {columns} FROM today.{table}")
    make_single_file(earlier)
    for file in companions(path):
        file.unlink(missing_ok=True)
    earlier.replace(path)


def _columns(connection: sqlite3.Connection, database: str, table: str) -> set[str]:
    return {str(row[1]) for row in connection.execute(f"PRAGMA {database}.table_info({table})")}
