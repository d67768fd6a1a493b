"""Which instance serves a session: the first call of one binds it, the others wait for that instance.

Used by `engine.pool` for functions with session affinity. Starts and ends no instance.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable

from sesame.engine.instance import Instance
from sesame.engine.leasing import Lease
from sesame.engine.policies import serves
from sesame.model.clocks import Clocks
from sesame.model.session import SessionKey
from sesame.model.snapshot import Snapshot

Name = tuple[str, str]


class _Bound:
    """A session, and its instance once its first call has one."""

    def __init__(self, created_at: float) -> None:
        self.created_at = created_at
        self.instance: Instance | None = None
        self._waiting: deque[asyncio.Future[None]] = deque()

    @property
    def awaited(self) -> bool:
        return bool(self._waiting)

    async def wait(self) -> None:
        """Until `wake`; calls are woken in the order in which they came."""
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.cancelled():
                if turn in self._waiting:
                    self._waiting.remove(turn)
            else:
                # Woken in the moment of the cancellation: the next one goes in its place.
                self.wake()
            raise

    def wake(self, *, every: bool = False) -> None:
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                if not every:
                    return


class SessionInstances:
    """Sessions by what they belong to and their id.

    `take` leases an instance if it has room for a call of a session that it has; `acquire` leases any.
    """

    def __init__(
        self,
        clocks: Clocks,
        take: Callable[[Instance], Lease | None],
        acquire: Callable[[Snapshot], Awaitable[Lease]],
    ) -> None:
        self._clocks = clocks
        self._take = take
        self._acquire = acquire
        self._bound: dict[Name, _Bound] = {}
        # The sessions of each instance that has any.
        self._names: dict[Instance, set[Name]] = {}

    async def acquire(self, snapshot: Snapshot, session: SessionKey) -> Lease:
        """Leases the session's instance. Raises as `acquire` where it has none yet, or none any more.

        POLICY: a call waits for its session's instance, for as long as the calls before it take. Another instance would
        not know what that one knows.
        """
        name = (session.parent, session.session_id)
        asked_at, woken = self._clocks.monotonic(), False
        while True:
            bound = self._bound.get(name)
            if bound is not None and bound.created_at != session.created_at:
                self.end(name)
                bound = None
            if bound is None:
                return await self._bind(name, session, self._acquire(snapshot))
            instance = bound.instance
            if instance is not None:
                if not serves(instance, snapshot):
                    self.end(name)
                    continue
                lease = self._take(instance) if woken or not bound.awaited else None
                if lease is not None:
                    lease.queue_ms = (self._clocks.monotonic() - asked_at) * 1000
                    return lease
            await bound.wait()
            woken = True

    def instance_of(self, name: Name) -> str:
        """The id of the instance that it is bound to; "" where it is bound to none."""
        bound = self._bound.get(name)
        return "" if bound is None or bound.instance is None else bound.instance.instance_id

    def end(self, name: Name) -> None:
        """Its instance is no longer bound to it; calls that run go on. Idempotent."""
        bound = self._bound.pop(name, None)
        if bound is None:
            return
        instance = bound.instance
        if instance is not None:
            instance.sessions -= 1
            names = self._names[instance]
            names.discard(name)
            if not names:
                del self._names[instance]
        bound.wake(every=True)

    def room(self, instance: Instance, *, every: bool = False) -> None:
        """A call on it has ended, or `every` place in it is free: calls that wait for it go on."""
        for name in self._names.get(instance, ()):
            self._bound[name].wake(every=every)

    def gone(self, instance: Instance) -> None:
        """It serves no call from here on: its sessions are bound anew by their next calls."""
        for name in list(self._names.get(instance, ())):
            self.end(name)

    async def _bind(self, name: Name, session: SessionKey, leasing: Awaitable[Lease]) -> Lease:
        bound = self._bound[name] = _Bound(session.created_at)
        try:
            lease = await leasing
        except BaseException:
            if self._bound.get(name) is bound:
                self.end(name)
            raise
        # Unless the session has ended meanwhile.
        if self._bound.get(name) is bound:
            bound.instance = lease.instance
            lease.instance.sessions += 1
            lease.instance.had_session = True
            self._names.setdefault(lease.instance, set()).add(name)
            if lease.instance.shared:
                bound.wake(every=True)
        return lease
