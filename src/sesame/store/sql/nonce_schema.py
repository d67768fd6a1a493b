"""The table of used nonces of requests to a cluster. Used by `store.nonces`.

Created by `store/sql/migrations` in every database.
"""

import sqlalchemy as sa

from sesame.store.sql.dialect import COUNTER
from sesame.store.sql.schema import metadata

# Nonces of one moment: `digests` of equal length, concatenated; `at` in Unix seconds of the writer's clock.
used_nonces = sa.Table(
    "used_nonces",
    metadata,
    sa.Column("number", COUNTER, primary_key=True),
    sa.Column("at", sa.Float, nullable=False),
    sa.Column("digests", sa.LargeBinary, nullable=False),
    sqlite_autoincrement=True,
)
