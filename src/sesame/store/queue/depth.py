"""Counts the queue: unfinished invocations, waiting records, dead letters.

Used by `store.queue.queue`. Reads only index ranges of waiting rows, and no finished row.
"""

import msgspec
import sqlalchemy as sa

from sesame.model.async_invocation import FINAL, LEASED, State
from sesame.store.queue.clock import QueueClock
from sesame.store.sql.queue_schema import deliveries, invocations

_columns = invocations.c
_UNFINISHED = [state.value for state in State if state not in FINAL]
_WAITING = frozenset(state.value for state in State if state not in FINAL | LEASED)
_INVOCATIONS = (
    sa.select(_columns.state, sa.func.count(), sa.func.min(_columns.enqueued_at))
    .where(_columns.state.in_(_UNFINISHED))
    .group_by(_columns.state)
)
_DELIVERIES = sa.select(sa.func.count()).where(deliveries.c.due_at.is_not(None))
_DEAD_LETTERS = sa.select(sa.func.count()).where(deliveries.c.buried_at.is_not(None))


class QueueDepth(msgspec.Struct, frozen=True):
    """`invocations` has every state that is not final. `oldest_age_s` is of the oldest waiting one; 0 if none waits.

    A record that is being sent counts among `deliveries`.
    """

    invocations: dict[str, int]
    oldest_age_s: float
    deliveries: int
    dead_letters: int


def depth(connection: sa.Connection, clock: QueueClock) -> QueueDepth:
    now = clock.now()
    counts, oldest = dict.fromkeys(_UNFINISHED, 0), now
    for state, count, enqueued_at in connection.execute(_INVOCATIONS):
        counts[state] = count
        if state in _WAITING:
            oldest = min(oldest, enqueued_at)
    return QueueDepth(
        invocations=counts,
        oldest_age_s=now - oldest,
        deliveries=connection.execute(_DELIVERIES).scalar_one(),
        dead_letters=connection.execute(_DEAD_LETTERS).scalar_one(),
    )
