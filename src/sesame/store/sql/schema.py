"""The table of records, and the metadata that every table of this room belongs to.

Used by `store.catalog`, by the migrations and by whatever else in this room keeps rows.
Never changes a database: `store/sql/migrations` does.
"""

import sqlalchemy as sa

metadata = sa.MetaData()

# One row a document (docs/adr/0003-one-table-of-records.md). `revision` counts how often the row was written.
records = sa.Table(
    "records",
    metadata,
    sa.Column("kind", sa.Text, primary_key=True),
    sa.Column("parent", sa.Text, primary_key=True),
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("document", sa.LargeBinary, nullable=False),
    sa.Column("etag", sa.Text, nullable=False),
    sa.Column("revision", sa.Integer, nullable=False),
    sa.Column("created_at", sa.Float, nullable=False),
    sa.Column("modified_at", sa.Float, nullable=False),
    sqlite_with_rowid=False,
)
