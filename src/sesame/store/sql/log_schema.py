"""The tables of a cluster's logs: the segments in its bucket, and the rows of its Log Service.

Used by `store.logs.shared` and `store.logs.logstores.shared`. Created by
`store/sql/migrations` in every database.
"""

import sqlalchemy as sa

from sesame.store.sql.dialect import COUNTER, TEXT
from sesame.store.sql.schema import metadata

# A segment is visible to others once it has a row. `epoch` is that of the writer that sealed it; lines have ids from
# `first_id` to `end_id`, which is exclusive; times are ms since 1970; `size_bytes` is the uncompressed size of its
# lines. `owners`: the functions of the lines, as MessagePack, in case the segment is lost.
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

# Rows of the small tables of `logstores.db`, by the table's name and the row's key, a JSON array; `document` has the
# other columns, as MessagePack.
log_service = sa.Table(
    "log_service",
    metadata,
    sa.Column("kind", TEXT, primary_key=True),
    sa.Column("key", TEXT, primary_key=True),
    sa.Column("document", sa.LargeBinary, nullable=False),
    sqlite_with_rowid=False,
)

# Segments with log groups of the Log Service, like `log_segments`; `parts` lists the groups, as MessagePack.
group_segments = sa.Table(
    "group_segments",
    metadata,
    sa.Column("number", COUNTER, primary_key=True),
    sa.Column("digest", TEXT, nullable=False),
    sa.Column("epoch", sa.BigInteger, nullable=False),
    sa.Column("parts", sa.LargeBinary, nullable=False),
    sa.Index("group_segments_by_digest", "digest", unique=True),
    sqlite_autoincrement=True,
)
