"""Binds sessions to instances: a session's first call chooses the instance, later calls wait for it.

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

# POLICY: at most this many calls wait for one session's instance; more are refused, like calls at a cap.
WAITING_MAX = 100


class _Bound:
    """A session, with its instance once its first call has been given one."""

    def __init__(self, created_at: float) -> None:
        self.created_at = created_at
        self.instance: Instance | None = None
        # Waiting calls by turn; turns are numbered in order of arrival.
        self._waiting: dict[int, asyncio.Future[None]] = {}
        # Calls that were woken but have not resumed yet: they come before new ones.
        self._woken = 0

    @property
    def awaited(self) -> int:
        return len(self._waiting) + self._woken

    async def wait(self, turn: int) -> None:
        """Waits for `wake`. A call woken in vain waits again with its old turn, ahead of later arrivals."""
        woken = self._waiting[turn] = asyncio.get_running_loop().create_future()
        try:
            await woken
            self._woken -= 1
        except asyncio.CancelledError:
            if woken.cancelled():
                self._waiting.pop(turn, None)
            else:
                # Woken at the moment of the cancellation: wake the next one instead.
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
    """The instances of sessions, by the session's parent and id.

    `take` leases a given instance for one of its sessions, or returns None if it has no room; `acquire` leases any.
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
        """Leases the session's instance.

        If it has none, or has lost it, leases and binds one, raising as `acquire` does.

        POLICY: a call waits for its session's instance as long as earlier calls take, because only that instance holds
        the session's state.
        """
        name = (session.parent, session.session_id)
        asked_at = self._clocks.monotonic()
        # 0 until the call has waited.
        turn = 0
        while True:
            bound = self._bound.get(name)
            if turn and self._is_late(bound, snapshot, session):
                # The instance it waited for has ended, and later calls may have bound a new one: leave the session to
                # them.
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
                        # There may be room for the next waiting call, too.
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
        """The id of the instance the session is bound to; "" if it is not bound."""
        bound = self._bound.get(name)
        return "" if bound is None or bound.instance is None else bound.instance.instance_id

    def end_of(self, session: SessionKey) -> None:
        """Like `end`, unless the binding belongs to a newer session with the same id."""
        name = (session.parent, session.session_id)
        bound = self._bound.get(name)
        if bound is not None and bound.created_at == session.created_at:
            self.end(name)

    def end(self, name: Name) -> None:
        """Unbinds the session from its instance; running calls continue. Idempotent."""
        bound = self._bound.pop(name, None)
        if bound is None:
            return
        if bound.instance is not None:
            bound.instance.sessions.discard(name)
        bound.wake(every=True)

    def room(self, instance: Instance, *, every: bool = False) -> None:
        """After a call ends, wakes each session's next waiting call, or all of them if `every` place is free."""
        for name in instance.sessions:
            self._bound[name].wake(every=every)

    def gone(self, instance: Instance) -> None:
        """The instance serves no more calls: its sessions' next calls bind other instances."""
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
