"""The tables of a cluster: who leads, and who may hold instances. Used by `store.sql.leadership`, on PostgreSQL alone.

Created by `store/sql/migrations` in every database. They speak of running processes, so they are never copied.
"""

import sqlalchemy as sa

from sesame.store.sql.dialect import TEXT
from sesame.store.sql.schema import metadata

# One row, with the name LEADERSHIP. `epoch` only grows; `renewed_at` are Unix seconds of the server's clock.
LEADERSHIP = "leadership"
cluster_leadership = sa.Table(
    "cluster_leadership",
    metadata,
    sa.Column("name", TEXT, primary_key=True),
    sa.Column("epoch", sa.BigInteger, nullable=False),
    sa.Column("node", TEXT, nullable=False),
    sa.Column("address", TEXT, nullable=False),
    sa.Column("renewed_at", sa.Float, nullable=False),
    # By which the database knows its cluster; "" before it has one.
    sa.Column("key_digest", TEXT, nullable=False, server_default=""),
    # Of the node that led last, as it told them.
    sa.Column("settings", TEXT, nullable=False, server_default=""),
    sqlite_with_rowid=False,
)

# A row is there before its holder may start the first instance, and goes once nothing is left of any.
cluster_holders = sa.Table(
    "cluster_holders",
    metadata,
    sa.Column("name", TEXT, primary_key=True),
    sqlite_with_rowid=False,
)
