"""The idle instances of one agent: those that its own calls find, and those kept for calls on their way from others.

Used by `agents.writer` and `agents.follower`, each for its own pool.
"""

from collections.abc import Callable

from sesame.agents.policies import Promises, takes_in
from sesame.engine.instance import Instance, State
from sesame.engine.pool import Pool
from sesame.http.interface import Exchange
from sesame.http.moving import connection_of
from sesame.model.snapshot import Snapshot


class KeptIdle:
    def __init__(self, pool: Pool, clock: Callable[[], float]) -> None:
        self._pool = pool
        self._promises = Promises(clock)

    @property
    def keeps_any(self) -> bool:
        return bool(self._promises)

    def of(self, key: str) -> list[Instance]:
        """The instances here that were made from this snapshot."""
        return [each for each in self._pool.instances() if each.snapshot.key == key and not each.elsewhere]

    def finds(self, snapshot: Snapshot, exchange: Exchange) -> bool:
        """As `has`, of a call that comes: one may have been kept for it. To be asked once."""
        if self._promises:
            connection = connection_of(exchange)
            if connection is not None and connection.moves:
                self.came(snapshot.key)
        return self.has(snapshot)

    def came(self, key: str) -> None:
        """A call that one was kept for is here."""
        self._promises.redeem(key)

    def has(self, snapshot: Snapshot) -> bool:
        """Whether a call has an idle instance here, or a place in one, beside those that are kept for others."""
        if not self._promises:
            return self.has_now(snapshot)
        return self._places(snapshot.key, self.of(snapshot.key)) > self._promises.count(snapshot.key)

    def has_now(self, snapshot: Snapshot) -> bool:
        """The same of a call that asks for an instance, whatever is kept for others."""
        if self._pool.has_idle(snapshot):
            return True
        return snapshot.limits.concurrency > 1 and self._pool.shared.places(snapshot.key) > 0

    def keep(self, key: str, *, room: bool) -> tuple[bool, bool]:
        """Whether one is kept for a call of another agent from here on, and whether a further one would be left."""
        own, promised = self.of(key), self._promises.count(key)
        kept = takes_in(
            idle=self._places(key, own),
            promised=promised,
            running=sum(each.calls for each in own),
            room=room,
            shared=any(each.shared for each in own),
        )
        if kept:
            self._promises.add(key)
        # Each that is kept may be a place in another instance.
        return kept, sum(each.state is State.IDLE for each in own) - promised - kept > 0

    def _places(self, key: str, own: list[Instance]) -> int:
        """How many calls they take now, or once they are ready."""
        idle = sum(each.snapshot.limits.concurrency for each in own if each.state is State.IDLE)
        return idle + self._pool.shared.places(key)
