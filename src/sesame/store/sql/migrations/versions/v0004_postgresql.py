"""Gives the tables, as PostgreSQL made them so far, the types with which they behave as in SQLite.

Run by Alembic when a database is new or older. In SQLite an INTEGER has 64 bits and text sorts by code points, so
nothing changes there. Does not import the present schema, so that it stays as it was.
"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_TEXTS = {
    "records": ("kind", "parent", "name", "etag"),
    "tombstones": ("kind", "parent", "name"),
    "counters": ("name",),
    "outbox": ("topic", "subject"),
    "objects": ("bucket", "blob", "etag", "crc64", "kind"),
    "object_uploads": ("upload_id", "bucket"),
    "object_parts": ("upload_id", "blob", "etag", "crc64"),
}


def upgrade() -> None:
    if op.get_context().dialect.name == "postgresql":
        _alter(sa.Text(collation="C"), sa.BigInteger())


def downgrade() -> None:
    if op.get_context().dialect.name == "postgresql":
        _alter(sa.Text(), sa.Integer())


def _alter(text: sa.Text, revision: sa.Integer) -> None:
    for table, columns in _TEXTS.items():
        for column in columns:
            op.alter_column(table, column, type_=text)
    op.alter_column("records", "revision", type_=revision)
