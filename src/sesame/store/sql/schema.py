"""The tables of the catalog and of the outbox, and the metadata that every table belongs to.

Used by `store.catalog`, `store.outbox` and the migrations; only migrations change a database's schema.
"""

import sqlalchemy as sa

from sesame.store.sql.dialect import COUNTER, TEXT

metadata = sa.MetaData()

# One row per document (docs/adr/0003-one-table-of-records.md). `revision` is the number of the change that wrote the
# row: it increases with every change over all records and tombstones, and no two share one.
records = sa.Table(
    "records",
    metadata,
    sa.Column("kind", TEXT, primary_key=True),
    sa.Column("parent", TEXT, primary_key=True),
    sa.Column("name", TEXT, primary_key=True),
    sa.Column("document", sa.LargeBinary, nullable=False),
    sa.Column("etag", TEXT, nullable=False),
    sa.Column("revision", COUNTER, nullable=False),
    sa.Column("created_at", sa.Float, nullable=False),
    sa.Column("modified_at", sa.Float, nullable=False),
    sa.Index("records_by_revision", "revision", unique=True),
    sqlite_with_rowid=False,
)

# Deletions with their times, for followers; removed when a record of the same name is written.
tombstones = sa.Table(
    "tombstones",
    metadata,
    sa.Column("kind", TEXT, primary_key=True),
    sa.Column("parent", TEXT, primary_key=True),
    sa.Column("name", TEXT, primary_key=True),
    sa.Column("revision", sa.BigInteger, nullable=False),
    sa.Column("deleted_at", sa.Float, nullable=False),
    sa.Index("tombstones_by_revision", "revision", unique=True),
    sqlite_with_rowid=False,
)

# `catalog` is the last assigned revision; tombstones up to `catalog_pruned` may have been deleted. The data directory
# contains the number `data_directory` too (`store.sql.pairing`); it is not copied with the rest.
CATALOG, CATALOG_PRUNED, PAIR = "catalog", "catalog_pruned", "data_directory"
counters = sa.Table(
    "counters",
    metadata,
    sa.Column("name", TEXT, primary_key=True),
    sa.Column("value", sa.BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

# Written in the transaction of the change that causes it; deleted once its consumer has acted on it.
outbox = sa.Table(
    "outbox",
    metadata,
    sa.Column("id", COUNTER, primary_key=True),
    sa.Column("topic", TEXT, nullable=False),
    sa.Column("subject", TEXT, nullable=False),
    sa.Column("payload", sa.LargeBinary, nullable=False),
    sa.Column("created_at", sa.Float, nullable=False),
    sa.Index("outbox_by_topic", "topic", "subject"),
    sqlite_autoincrement=True,
)
