"""The room in the instances of one agent: what its own calls find, and what is kept for calls on their way from others.

Used by `agents.writer` and `agents.follower`, each for its own pool.
"""

from collections.abc import Callable, Sequence

from sesame.agents.coming import Caller, Coming, this_task
from sesame.agents.credits import CreditCapacity
from sesame.agents.policies import Promises, takes_in
from sesame.engine.instance import Instance, State
from sesame.engine.pool import Pool
from sesame.http.interface import Exchange
from sesame.http.moving import connection_of
from sesame.model.snapshot import Snapshot


class KeptIdle:
    """Of instances that serve several calls at a time, those that start have room, too: a call is neither refused nor
    has another one started before they are there.
    """

    def __init__(self, pool: Pool, clock: Callable[[], float], credits: CreditCapacity | None = None) -> None:
        """`credits` are a follower's; the writer has none, and starts what its calls need by itself."""
        self._pool = pool
        self._promises = Promises(clock)
        self._credits = credits
        self.coming = Coming() if credits is None else credits.coming

    @property
    def keeps_any(self) -> bool:
        return bool(self._promises)

    def of(self, key: str) -> list[Instance]:
        """The instances here that were made from this snapshot."""
        return [each for each in self._pool.instances() if each.snapshot.key == key and not each.elsewhere]

    def finds(self, snapshot: Snapshot, exchange: Exchange) -> bool:
        """As `joins`, of the call of this task that comes: a place may have been kept for it. To be asked once."""
        if self._promises:
            connection = connection_of(exchange)
            if connection is not None and connection.moves:
                self.came(snapshot.key)
        return self.has(snapshot) if snapshot.limits.concurrency == 1 else self.joins(snapshot, this_task())

    def joins(self, snapshot: Snapshot, caller: Caller) -> bool:
        """As `has`. Of an instance that serves several calls, the place is the caller's from here on."""
        if not self.has(snapshot):
            return False
        if snapshot.limits.concurrency > 1:
            self.coming.add(snapshot.key, caller)
        return True

    def came(self, key: str) -> None:
        """A call that one was kept for is here."""
        self._promises.redeem(key)

    def has(self, snapshot: Snapshot) -> bool:
        """Whether a call has an idle instance here, or a place in one, beside those that are kept for others."""
        key, concurrency = snapshot.key, snapshot.limits.concurrency
        if not self._promises and (concurrency == 1 or not self.coming):
            return self.has_now(snapshot)
        return self.places(snapshot) > self._promises.count(key)

    def places(self, snapshot: Snapshot) -> int:
        """How many calls its instances take now, or once they are ready, beside those that are coming."""
        return self._places(snapshot.key, snapshot.limits.concurrency, self.of(snapshot.key))

    def has_now(self, snapshot: Snapshot) -> bool:
        """The same of a call that asks for an instance, whatever is kept for others."""
        if self._pool.has_idle(snapshot):
            return True
        return snapshot.limits.concurrency > 1 and self._pool.shared.places(snapshot.key) > 0

    def keep(self, key: str, concurrency: int, *, room: bool) -> tuple[bool, bool]:
        """Whether one is kept for a call of another agent from here on, and whether a further one would be left.

        Instances of it serve so many calls at a time.
        """
        own, promised = self.of(key), self._promises.count(key)
        kept = takes_in(
            idle=self._places(key, concurrency, own),
            promised=promised,
            running=sum(each.calls for each in own),
            room=room,
            shared=concurrency > 1,
            provisioned=concurrency * _provisioned(own),
        )
        if kept:
            self._promises.add(key)
        # Each that is kept may be a place in another instance.
        return kept, sum(each.state is State.IDLE for each in own) - promised - kept > 0

    def has_provisioned(self, snapshot: Snapshot) -> bool:
        """Whether one is idle that is provisioned, and kept for nobody."""
        free = snapshot.limits.concurrency * _provisioned(self.of(snapshot.key))
        return free > self._promises.count(snapshot.key)

    def keeps_provisioned(self, snapshot: Snapshot) -> bool:
        """Whether an idle instance that is provisioned is kept for a call of another agent from here on."""
        kept = self.has_provisioned(snapshot)
        if kept:
            self._promises.add(snapshot.key)
        return kept

    def _places(self, key: str, concurrency: int, own: list[Instance]) -> int:
        """How many calls they take now, or once they are ready, beside those that are coming."""
        places = concurrency * sum(each.state is State.IDLE for each in own) + self._pool.shared.places(key)
        if concurrency == 1:
            return places
        started_soon = 0 if self._credits is None else self._credits.unused_of(key)
        return max(places + concurrency * started_soon - self.coming.count(key), 0)

    def starts(self, snapshot: Snapshot) -> bool:
        """Whether calls that are coming find no place here, and so are about to start an instance."""
        key, concurrency = snapshot.key, snapshot.limits.concurrency
        coming = self.coming.count(key)
        if concurrency == 1 or not coming:
            return False
        idle = sum(each.state is State.IDLE for each in self.of(key))
        return coming > concurrency * idle + self._pool.shared.places(key)


def _provisioned(instances: Sequence[Instance]) -> int:
    """How many of them are idle and were started ahead of calls."""
    return sum(each.state is State.IDLE and each.provisioned_for is not None for each in instances)
