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
    def __init__(
        self, pool: Pool, clock: Callable[[], float], is_here: Callable[[Instance], bool] = lambda _instance: True
    ) -> None:
        """`is_here` tells instances of this agent from those of others that count in its pool."""
        self._pool = pool
        self._is_here = is_here
        self._promises = Promises(clock)

    @property
    def keeps_any(self) -> bool:
        return bool(self._promises)

    def of(self, key: str) -> list[Instance]:
        """The instances here that were made from this snapshot."""
        return [each for each in self._pool.instances() if each.snapshot.key == key and self._is_here(each)]

    def has(self, snapshot: Snapshot, exchange: Exchange) -> bool:
        """Whether this call has an idle instance here, beside those that are kept for others."""
        if not self._promises:
            return self._pool.has_idle(snapshot)
        connection = connection_of(exchange)
        if connection is not None and connection.moves:
            self._promises.redeem(snapshot.key)
        return _idle(self.of(snapshot.key)) > self._promises.count(snapshot.key)

    def keep(self, key: str, *, room: bool) -> tuple[bool, bool]:
        """Whether one is kept for a call of another agent from here on, and whether a further one would be left."""
        own, promised = self.of(key), self._promises.count(key)
        idle = _idle(own)
        kept = takes_in(idle=idle, promised=promised, running=sum(each.calls for each in own), room=room)
        if kept:
            self._promises.add(key)
        return kept, idle - promised - kept > 0


def _idle(instances: list[Instance]) -> int:
    return sum(each.state is State.IDLE for each in instances)
