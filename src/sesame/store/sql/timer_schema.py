"""The table of timer triggers: when each ticks next. Created by `store/sql/migrations`, used by `store.timers`."""

import sqlalchemy as sa

from sesame.store.sql.dialect import TEXT
from sesame.store.sql.schema import metadata

# Only enabled timers have a row. `since` is the last tick, or the time from which the trigger counts; `next_at` is the
# first time after it at which `schedule`, as written, falls due. All times are Unix seconds.
timers = sa.Table(
    "timers",
    metadata,
    sa.Column("parent", TEXT, primary_key=True),
    sa.Column("name", TEXT, primary_key=True),
    sa.Column("trigger_id", TEXT, nullable=False),
    sa.Column("schedule", TEXT, nullable=False),
    sa.Column("since", sa.Float, nullable=False),
    sa.Column("next_at", sa.Float, nullable=False),
    sqlite_with_rowid=False,
)
