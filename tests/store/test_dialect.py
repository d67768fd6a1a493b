"""Statements and types that differ between the databases.

Run by pytest, on every database.
"""

import pytest
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

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
