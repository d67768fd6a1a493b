"""The table of the nonces that requests to a cluster were signed with. Used by `store.nonces`.

Created by `store/sql/migrations` in every database.
"""

import sqlalchemy as sa

from sesame.store.sql.dialect import COUNTER
from sesame.store.sql.schema import metadata

# What came in a moment: `digests` of one length, one after the other; `at` in Unix seconds of the writer's clock.
used_nonces = sa.Table(
    "used_nonces",
    metadata,
    sa.Column("number", COUNTER, primary_key=True),
    sa.Column("at", sa.Float, nullable=False),
    sa.Column("digests", sa.LargeBinary, nullable=False),
    sqlite_autoincrement=True,
)
