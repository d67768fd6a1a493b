"""The table of recorded calls. Created by `store/sql/migrations`, used by `store.recordings`."""

import sqlalchemy as sa

from sesame.store.sql.dialect import COUNTER, TEXT
from sesame.store.sql.schema import metadata

# Fields that a list shows have columns of their own; `document` is the whole recording, as MessagePack. A request id
# may occur more than once: attempts of an asynchronous invocation share one.
recordings = sa.Table(
    "recordings",
    metadata,
    sa.Column("seq", COUNTER, primary_key=True),
    sa.Column("request_id", TEXT, nullable=False),
    sa.Column("recorded_at", sa.Float, nullable=False),
    sa.Column("service", TEXT, nullable=False),
    sa.Column("function", TEXT, nullable=False),
    sa.Column("qualifier", TEXT, nullable=False),
    sa.Column("runtime", TEXT, nullable=False),
    sa.Column("error_type", TEXT, nullable=False),
    sa.Column("duration_ms", sa.Float, nullable=False),
    sa.Column("size_bytes", sa.Integer, nullable=False),
    sa.Column("document", sa.LargeBinary, nullable=False),
    sa.Index("recordings_by_request", "request_id", "seq"),
    sa.Index("recordings_of_function", "service", "function", "seq"),
    sqlite_autoincrement=True,
)
