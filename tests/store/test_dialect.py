"""Statements and types that differ between the databases.

Run by pytest, on every database.
"""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from tests.support.data_directory import filled

from sesame.store import outbox as outbox_module
from sesame.store.sql.copying import copy_database
from sesame.store.sql.database import Database
from sesame.store.sql.dialect import insert_new, json_text, upsert
from sesame.store.sql.object_schema import objects, uploads
from sesame.store.sql.schema import outbox, records

DIALECTS = pytest.mark.parametrize("dialect", [sqlite.dialect(), postgresql.dialect()], ids=["sqlite", "postgresql"])


@DIALECTS
def test_a_statement_compiles_for_every_database(dialect: sa.Dialect) -> None:
    replacing = str(upsert(records).compile(dialect=dialect))
    assert "ON CONFLICT (kind, parent, name) DO UPDATE SET document = excluded.document, etag" in replacing
    adding = insert_new(uploads, [uploads.c.upload_id]).returning(uploads.c.bucket)
    assert "ON CONFLICT (upload_id) DO NOTHING RETURNING" in str(adding.compile(dialect=dialect))
    field = str(sa.select(json_text(objects.c.meta, "acl")).compile(dialect=dialect))
    expected = {
        "sqlite": "json_extract(CAST(objects.meta AS TEXT), '$.' || 'acl')",
        "postgresql": "CAST(convert_from(objects.meta, 'UTF8') AS JSON) ->> 'acl'",
    }
    assert expected[dialect.name] in field


@DIALECTS
def test_rows_are_locked_only_where_there_are_several_writers(dialect: sa.Dialect) -> None:
    claim = str(sa.select(outbox.c.id).with_for_update(skip_locked=True).compile(dialect=dialect))
    assert ("FOR UPDATE SKIP LOCKED" in claim) == (dialect.name == "postgresql")


async def test_text_with_a_nul_is_looked_for_and_kept(place: Path | str, tmp_path: Path) -> None:
    database = Database(place)
    await database.open()

    def work(connection: sa.Connection) -> list[str]:
        named = sa.select(records.c.name).where(records.c.name == "a\0b")
        assert connection.execute(named).first() is None
        outbox_module.add(connection, "t", ["a\0b"], 1.0)
        return [entry.subject for entry in outbox_module.pending(connection, "t")]

    # PostgreSQL's text has no NUL.
    kept = "a\0b" if isinstance(place, Path) else "a\N{REPLACEMENT CHARACTER}b"
    assert await database.write(work) == [kept]
    await database.close()


def test_text_with_a_nul_does_not_stop_a_copy(tmp_path: Path, postgresql_url: str) -> None:
    data = filled(tmp_path / "data").path / "sesame.db"
    with closing(sqlite3.connect(data)) as connection:
        connection.execute(
            "INSERT INTO outbox (topic, subject, payload, created_at) VALUES ('t', 'a' || char(0), x'', 1)"
        )
        connection.commit()
    copy_database(data, postgresql_url)
