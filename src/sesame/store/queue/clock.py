"""The time used by the queue: it never goes back, whatever happens to the machine's clock.

Used by the queues. Within a process it follows the monotonic clock, so that a delay or a lease lasts as long as
requested. A new process starts from the wall clock, or from its predecessor's last time if that is later.
"""

import sqlalchemy as sa

from sesame.model.clocks import Clocks
from sesame.store.sql.dialect import upsert
from sesame.store.sql.schema import counters

# The counter contains milliseconds. It is written with other changes, at most once in `SAVED_EVERY_S`.
QUEUE_TIME = "queue_time"
SAVED_EVERY_S = 1.0

_SAVED = sa.select(counters.c.value).where(counters.c.name == QUEUE_TIME)
_SAVE = upsert(counters)


class QueueClock:
    """Seconds, close to Unix time unless the wall clock was changed. Any thread may read it, after `load`."""

    def __init__(self, clocks: Clocks) -> None:
        self._clocks = clocks
        self._ahead = clocks.wall() - clocks.monotonic()
        self._saved = 0.0

    def load(self, connection: sa.Connection) -> None:
        saved = connection.execute(_SAVED).scalar()
        if saved is not None:
            self._ahead = max(self._ahead, saved / 1000 - self._clocks.monotonic())

    def save(self, connection: sa.Connection) -> None:
        """Call within the caller's transaction."""
        now = self.now()
        if now - self._saved >= SAVED_EVERY_S:
            connection.execute(_SAVE, {"name": QUEUE_TIME, "value": int(now * 1000)})
            self._saved = now

    def now(self) -> float:
        return self._ahead + self._clocks.monotonic()

    def wall(self) -> float:
        return self._clocks.wall()

    def of_wall(self, at: float) -> float:
        """The queue's time that is as far from now as `at` is by the wall clock."""
        return self.now() + (at - self._clocks.wall())

    def to_wall(self, at: float) -> float:
        return at - self.now() + self._clocks.wall()
