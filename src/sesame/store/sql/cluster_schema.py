"""The tables of a cluster: who leads, and who may hold instances. Used by `store.sql.leadership`, only on PostgreSQL.

Created by `store/sql/migrations` in every database. They describe running processes, so they are never copied.
"""

import sqlalchemy as sa

from sesame.store.sql.dialect import TEXT
from sesame.store.sql.schema import metadata

# One row, with the name LEADERSHIP. `epoch` only grows; `renewed_at` is in Unix seconds of the server's clock.
LEADERSHIP = "leadership"
cluster_leadership = sa.Table(
    "cluster_leadership",
    metadata,
    sa.Column("name", TEXT, primary_key=True),
    sa.Column("epoch", sa.BigInteger, nullable=False),
    sa.Column("node", TEXT, nullable=False),
    sa.Column("address", TEXT, nullable=False),
    sa.Column("renewed_at", sa.Float, nullable=False),
    # Identifies the cluster to the database; "" before there is one.
    sa.Column("key_digest", TEXT, nullable=False, server_default=""),
    # The settings of the node that led last, as it reported them.
    sa.Column("settings", TEXT, nullable=False, server_default=""),
    sqlite_with_rowid=False,
)

# A row exists before its holder may start the first instance, and is deleted once no instance is left.
cluster_holders = sa.Table(
    "cluster_holders",
    metadata,
    sa.Column("name", TEXT, primary_key=True),
    sqlite_with_rowid=False,
)
