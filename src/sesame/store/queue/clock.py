"""The time by which the queue waits: it never goes back, whatever is done to the machine's clock.

Used by the queues. While a process runs, it goes on with the monotonic clock, so that a delay or a lease lasts as long
as was asked for. A process that starts goes on from the wall clock, or from where the one before was if that is later.
"""

import sqlalchemy as sa

from sesame.model.clocks import Clocks
from sesame.store.sql.dialect import upsert
from sesame.store.sql.schema import counters

# The counter holds milliseconds. It is written with other changes, at most once in `SAVED_EVERY_S`.
QUEUE_TIME = "queue_time"
SAVED_EVERY_S = 1.0

_SAVED = sa.select(counters.c.value).where(counters.c.name == QUEUE_TIME)
_SAVE = upsert(counters)


class QueueClock:
    """Seconds, close to Unix time unless the wall clock was changed. Read by any thread; `load` comes first."""

    def __init__(self, clocks: Clocks) -> None:
        self._clocks = clocks
        self._ahead = clocks.wall() - clocks.monotonic()
        self._saved = 0.0

    def load(self, connection: sa.Connection) -> None:
        saved = connection.execute(_SAVED).scalar()
        if saved is not None:
            self._ahead = max(self._ahead, saved / 1000 - self._clocks.monotonic())

    def save(self, connection: sa.Connection) -> None:
        """Part of the caller's transaction."""
        now = self.now()
        if now - self._saved >= SAVED_EVERY_S:
            connection.execute(_SAVE, {"name": QUEUE_TIME, "value": int(now * 1000)})
            self._saved = now

    def now(self) -> float:
        return self._ahead + self._clocks.monotonic()

    def wall(self) -> float:
        return self._clocks.wall()

    def of_wall(self, at: float) -> float:
        """The queue's time of a moment that is as far from now as `at` is by the wall clock: exactly now for now."""
        return self.now() + (at - self._clocks.wall())

    def to_wall(self, at: float) -> float:
        return at - self.now() + self._clocks.wall()
