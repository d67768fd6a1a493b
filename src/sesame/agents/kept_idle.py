"""Counts the free places in one agent's instances: for its own calls, and for calls that move here from other agents.

A place is an idle instance, or a free slot in an instance that serves several calls. Used by `agents.writers_calls`
and `agents.follower`, each for its own pool.
"""

from collections.abc import Callable

from sesame.agents.coming import Caller, Coming, this_task
from sesame.agents.credits import CreditCapacity
from sesame.agents.policies import Promises, takes_in
from sesame.engine.pool import Pool
from sesame.http.interface import Exchange
from sesame.http.moving import connection_of
from sesame.model.snapshot import Snapshot


class KeptIdle:
    """A call costs the same however many instances there are.

    `keep` reserves a place for a call of another agent; `joins` takes one for a call of this agent.

    Instances that serve several calls count as soon as they start: calls wait for them rather than start more.
    """

    def __init__(self, pool: Pool, clock: Callable[[], float], credits: CreditCapacity | None = None) -> None:
        """`credits` is given on followers only: the writer needs none to start an instance."""
        self._pool = pool
        self._promises = Promises(clock)
        self._credits = credits
        self.coming = Coming() if credits is None else credits.coming

    @property
    def keeps_any(self) -> bool:
        """Whether any place is reserved for a call of another agent."""
        return bool(self._promises)

    def finds(self, snapshot: Snapshot, exchange: Exchange) -> bool:
        """Like `joins`, for the arriving call of the current task. Must be called once per call.

        If the call has moved here, it first redeems the place that was reserved for it.
        """
        if self._promises:
            connection = connection_of(exchange)
            if connection is not None and connection.moves:
                self.came(snapshot.key)
        return self.has(snapshot) if snapshot.limits.concurrency == 1 else self.joins(snapshot, this_task())

    def joins(self, snapshot: Snapshot, caller: Caller) -> bool:
        """Whether there is a place for the call. If instances serve several calls, the caller counts as coming then."""
        if not self.has(snapshot):
            return False
        if snapshot.limits.concurrency > 1:
            self.coming.add(snapshot.key, caller)
        return True

    def came(self, key: str) -> None:
        """A call has arrived for which a place may have been reserved: the reservation ends."""
        self._promises.redeem(key)

    def has(self, snapshot: Snapshot) -> bool:
        """Whether there is a place that is not reserved for a call of another agent."""
        key, concurrency = snapshot.key, snapshot.limits.concurrency
        if not self._promises and (concurrency == 1 or not self.coming):
            return self.has_now(snapshot)
        return self.places(snapshot) > self._promises.count(key)

    def places(self, snapshot: Snapshot) -> int:
        """How many more calls its instances can take now, or once they have started; coming calls are subtracted."""
        return self._places(snapshot.key, snapshot.limits.concurrency)

    def has_now(self, snapshot: Snapshot) -> bool:
        """Whether a call that asks the pool now finds a place; reservations for other calls do not count."""
        if self._pool.has_idle(snapshot):
            return True
        return snapshot.limits.concurrency > 1 and self._pool.shared.places(snapshot.key) > 0

    def keep(self, key: str, concurrency: int, *, room: bool) -> tuple[bool, bool]:
        """Reserves a place for a call of another agent if `policies.takes_in` permits it.

        Returns whether one is reserved, and whether an idle instance remains besides all that are reserved.
        `concurrency` is the number of calls that each instance serves at a time; `room` is whether another instance
        could be started.
        """
        promised = self._promises.count(key)
        kept = takes_in(
            idle=self._places(key, concurrency),
            promised=promised,
            running=self._pool.calls_of.get(key, 0),
            room=room,
            shared=concurrency > 1,
            provisioned=self._pool.idle.provisioned(key),
        )
        if kept:
            self._promises.add(key)
        # Each reservation may come to take a different instance, so all are subtracted.
        return kept, self._pool.idle.count(key) - promised - kept > 0

    def has_provisioned(self, snapshot: Snapshot) -> bool:
        """Whether there is an idle provisioned instance that is not reserved."""
        return self._pool.idle.provisioned(snapshot.key) > self._promises.count(snapshot.key)

    def keeps_provisioned(self, snapshot: Snapshot) -> bool:
        """Reserves an idle provisioned instance for a call of another agent. Returns whether there was one."""
        kept = self.has_provisioned(snapshot)
        if kept:
            self._promises.add(snapshot.key)
        return kept

    def _places(self, key: str, concurrency: int) -> int:
        """See `places`."""
        places = concurrency * self._pool.idle.count(key) + self._pool.shared.places(key)
        if concurrency == 1:
            return places
        started_soon = 0 if self._credits is None else self._credits.unused_of(key)
        return max(places + concurrency * started_soon - self.coming.count(key), 0)

    def starts(self, snapshot: Snapshot) -> bool:
        """Whether more calls are coming than there are places, so that one of them is about to start an instance.

        Only for instances that serve several calls; otherwise False.
        """
        key, concurrency = snapshot.key, snapshot.limits.concurrency
        coming = self.coming.count(key)
        if concurrency == 1 or not coming:
            return False
        return coming > concurrency * self._pool.idle.count(key) + self._pool.shared.places(key)
