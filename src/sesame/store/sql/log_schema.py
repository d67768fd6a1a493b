"""The table of the log segments that a cluster has in its bucket, used by `store.logs.shared`.

Created by `store/sql/migrations` in every database.
"""

import sqlalchemy as sa

from sesame.store.sql.dialect import COUNTER, TEXT
from sesame.store.sql.schema import metadata

# A segment is there for others once it has a row. `epoch` is that of the writer that sealed it; lines have ids from
# `first_id` to `end_id`, which is exclusive; times are ms since 1970; `size_bytes` of its lines, not compressed.
# `owners`: whose lines they are, as MessagePack, for when the segment is lost.
log_segments = sa.Table(
    "log_segments",
    metadata,
    sa.Column("number", COUNTER, primary_key=True),
    sa.Column("digest", TEXT, nullable=False),
    sa.Column("epoch", sa.BigInteger, nullable=False),
    sa.Column("first_id", sa.BigInteger, nullable=False),
    sa.Column("end_id", sa.BigInteger, nullable=False),
    sa.Column("first_ms", sa.BigInteger, nullable=False),
    sa.Column("last_ms", sa.BigInteger, nullable=False),
    sa.Column("size_bytes", sa.BigInteger, nullable=False),
    sa.Column("owners", sa.LargeBinary, nullable=False),
    sa.Index("log_segments_by_digest", "digest", unique=True),
    sqlite_autoincrement=True,
)
