"""Which instance serves a session: the first call of one binds it, the others wait for that instance.

Used by `engine.pool` for functions with session affinity. Starts and ends no instance.
"""

import asyncio
from collections.abc import Awaitable, Callable
from itertools import count

from sesame.engine.instance import Instance
from sesame.engine.leasing import Lease
from sesame.engine.policies import serves
from sesame.model.clocks import Clocks
from sesame.model.errors import Exhausted
from sesame.model.session import SessionKey
from sesame.model.snapshot import Snapshot

Name = tuple[str, str]

# POLICY: so many calls wait for the instance of one session; more are refused, as calls at a cap are.
WAITING_MAX = 100


class _Bound:
    """A session, and its instance once its first call has one."""

    def __init__(self, created_at: float) -> None:
        self.created_at = created_at
        self.instance: Instance | None = None
        # By turn, which says in which order they came.
        self._waiting: dict[int, asyncio.Future[None]] = {}
        # Calls that were woken and have not gone on yet: they come before those that come now.
        self._woken = 0

    @property
    def awaited(self) -> int:
        return len(self._waiting) + self._woken

    async def wait(self, turn: int) -> None:
        """Until `wake`; who was woken in vain waits with the same turn again, before those that came later."""
        woken = self._waiting[turn] = asyncio.get_running_loop().create_future()
        try:
            await woken
            self._woken -= 1
        except asyncio.CancelledError:
            if woken.cancelled():
                self._waiting.pop(turn, None)
            else:
                # Woken in the moment of the cancellation: the next one goes in its place.
                self._woken -= 1
                self.wake()
            raise

    def wake(self, *, every: bool = False) -> None:
        for turn in sorted(self._waiting):
            woken = self._waiting.pop(turn)
            if not woken.done():
                woken.set_result(None)
                self._woken += 1
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
        is_current: Callable[[Snapshot], bool],
    ) -> None:
        self._clocks = clocks
        self._take = take
        self._acquire = acquire
        self._is_current = is_current
        self._bound: dict[Name, _Bound] = {}
        self._turns = count(1)

    async def acquire(self, snapshot: Snapshot, session: SessionKey) -> Lease:
        """Leases the session's instance. Raises as `acquire` where it has none yet, or none any more.

        POLICY: a call waits for its session's instance, for as long as the calls before it take. Another instance would
        not know what that one knows.
        """
        name = (session.parent, session.session_id)
        asked_at = self._clocks.monotonic()
        # Of a call that has waited; 0 for one that has not.
        turn = 0
        while True:
            bound = self._bound.get(name)
            if turn and self._is_late(bound, snapshot, session):
                # What it waited for has ended, and newer calls may have an instance: that one stays theirs.
                if bound is not None:
                    bound.wake()
                return await self._acquire(snapshot)
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
                lease = self._take(instance) if turn or not bound.awaited else None
                if lease is not None:
                    if turn and instance.shared:
                        # There may be room for the next one too, which waits behind this one.
                        bound.wake()
                    lease.queue_ms = (self._clocks.monotonic() - asked_at) * 1000
                    return lease
            if not turn and bound.awaited >= WAITING_MAX:
                raise Exhausted(f"{WAITING_MAX} calls of session '{session.session_id}' wait for its instance already")
            turn = turn or next(self._turns)
            await bound.wait(turn)

    def _is_late(self, bound: _Bound | None, snapshot: Snapshot, session: SessionKey) -> bool:
        if bound is not None and bound.created_at > session.created_at:
            return True
        stays = bound is not None and bound.instance is not None and serves(bound.instance, snapshot)
        return not stays and not self._is_current(snapshot)

    def instance_of(self, name: Name) -> str:
        """The id of the instance that it is bound to; "" where it is bound to none."""
        bound = self._bound.get(name)
        return "" if bound is None or bound.instance is None else bound.instance.instance_id

    def end_of(self, session: SessionKey) -> None:
        """As `end`, unless a session that was made anew under its id has the instance."""
        name = (session.parent, session.session_id)
        bound = self._bound.get(name)
        if bound is not None and bound.created_at == session.created_at:
            self.end(name)

    def end(self, name: Name) -> None:
        """Its instance is no longer bound to it; calls that run go on. Idempotent."""
        bound = self._bound.pop(name, None)
        if bound is None:
            return
        if bound.instance is not None:
            bound.instance.sessions.discard(name)
        bound.wake(every=True)

    def room(self, instance: Instance, *, every: bool = False) -> None:
        """A call on it has ended, or `every` place in it is free: calls that wait for it go on."""
        for name in instance.sessions:
            self._bound[name].wake(every=every)

    def gone(self, instance: Instance) -> None:
        """It serves no call from here on: its sessions are bound anew by their next calls."""
        for name in list(instance.sessions):
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
            lease.instance.sessions.add(name)
            lease.instance.had_session = True
            if lease.instance.shared:
                bound.wake(every=True)
        return lease
