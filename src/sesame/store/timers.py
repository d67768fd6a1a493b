"""The rows of timer triggers: the time of each next tick, and the claim that lets each tick be taken only once.

Called by `triggers.timers`, inside its transactions. A claim commits together with the consequences of the tick.
"""

from collections.abc import Iterable, Sequence

import msgspec
import sqlalchemy as sa

from sesame.model import records as kinds
from sesame.store.sql.dialect import upsert
from sesame.store.sql.schema import records
from sesame.store.sql.timer_schema import timers

Key = tuple[str, str]
"""Parent (`service/function`) and name of a trigger."""


class TimerRow(msgspec.Struct, frozen=True, kw_only=True):
    """A row of the table in `store.sql.timer_schema`."""

    parent: str
    name: str
    trigger_id: str
    schedule: str
    since: float
    next_at: float

    @property
    def key(self) -> Key:
        return self.parent, self.name


def load(connection: sa.Connection) -> list[TimerRow]:
    return [TimerRow(**row._mapping) for row in connection.execute(sa.select(timers))]


def find(connection: sa.Connection, key: Key) -> TimerRow | None:
    parent, name = key
    where = sa.and_(timers.c.parent == parent, timers.c.name == name)
    row = connection.execute(sa.select(timers).where(where)).one_or_none()
    return None if row is None else TimerRow(**row._mapping)


def put(connection: sa.Connection, rows: Sequence[TimerRow]) -> None:
    if rows:
        connection.execute(_PUT, [msgspec.structs.asdict(row) for row in rows])


def remove(connection: sa.Connection, keys: Iterable[Key]) -> None:
    found = [{"the_parent": parent, "the_name": name} for parent, name in keys]
    if found:
        connection.execute(_REMOVE, found)


def claim(connection: sa.Connection, row: TimerRow, following: TimerRow, etag: str) -> bool:
    """Replaces `row` by `following`.

    Changes nothing and returns False if the row has changed, or the trigger no longer has this etag.
    """
    parameters = msgspec.structs.asdict(row) | {"etag": etag}
    parameters = {f"the_{name}": value for name, value in parameters.items()}
    change = {"since": following.since, "next_at": following.next_at}
    return connection.execute(_CLAIM, parameters | change).rowcount == 1


_PUT = upsert(timers)
_REMOVE = sa.delete(timers).where(
    timers.c.parent == sa.bindparam("the_parent"), timers.c.name == sa.bindparam("the_name")
)
_CLAIM = (
    sa.update(timers)
    .where(
        timers.c.parent == sa.bindparam("the_parent"),
        timers.c.name == sa.bindparam("the_name"),
        timers.c.trigger_id == sa.bindparam("the_trigger_id"),
        timers.c.schedule == sa.bindparam("the_schedule"),
        timers.c.next_at == sa.bindparam("the_next_at"),
        sa.exists().where(
            records.c.kind == kinds.TRIGGER,
            records.c.parent == sa.bindparam("the_parent"),
            records.c.name == sa.bindparam("the_name"),
            records.c.etag == sa.bindparam("the_etag"),
        ),
    )
    .values(since=sa.bindparam("since"), next_at=sa.bindparam("next_at"))
)
