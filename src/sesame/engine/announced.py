"""Refuses calls that have no capacity before their large events are read.

Used through `engine.interface.Engine.announce`. Reserves nothing: the call is admitted once its event has arrived.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from sesame.engine.policies import Caps, has_place, no_capacity_for, started_by, taken_by
from sesame.engine.pool import Pool
from sesame.engine.resolver import Snapshots
from sesame.model.errors import CallerError, Exhausted
from sesame.model.invocation import Target
from sesame.model.snapshot import Snapshot

# See `engine.interface.Observer.refused`.
Refused = Callable[[Target, CallerError], None]


class AnnouncedCalls:
    """Tracks the calls whose events are still being read."""

    def __init__(self, resolver: Snapshots, pool: Pool, caps: Caps, refused: Refused | None = None) -> None:
        """`refused` is the observer's callback for calls refused here."""
        self._resolver = resolver
        self._pool = pool
        self._caps = caps
        self._refused = refused
        self._announced: list[Snapshot] = []

    @contextmanager
    def announce(self, target: Target) -> Iterator[None]:
        """Wraps the reading of the event. Raises `Exhausted` without capacity, else as `Engine.invoke` does."""
        try:
            snapshot = self._admitted(target)
        except CallerError as error:
            if self._refused is not None:
                self._refused(target, error)
            raise
        self._announced.append(snapshot)
        try:
            yield
        finally:
            self._announced.remove(snapshot)

    def _admitted(self, target: Target) -> Snapshot:
        snapshot = self._resolver.resolve(target)
        pool, announced = self._pool, self._announced
        own = sum(each.key == snapshot.key for each in announced)
        places = pool.shared.places
        if own < pool.provisioned_places(snapshot) or has_place(snapshot, announced, places(snapshot.key)):
            return snapshot
        taken = taken_by(pool.capacity.here(), started_by(announced, places))
        reason = no_capacity_for(snapshot, taken, self._caps)
        if reason is not None:
            pool.counts.refused += 1
            raise Exhausted(reason)
        return snapshot
