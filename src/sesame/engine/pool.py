"""All instances of this engine: finds a warm one, starts a cold one under the caps, and ends idle ones.

Used by `engine.dispatcher` through leases. Ends outdated instances on each change of the catalog and expired ones on
each tick. An instance on which anything went wrong is ended, never reused.
"""

import asyncio
from collections.abc import Callable, Coroutine

import structlog

from sesame.engine.capacity import Capacity, StartSlots
from sesame.engine.health import HealthChecks
from sesame.engine.hooks import PRE_FREEZE, PRE_STOP
from sesame.engine.idle import IdleInstances
from sesame.engine.instance import BUSY, DEAD, IDLE, Instance, State
from sesame.engine.leasing import Learning, Lease, Leasing
from sesame.engine.policies import expired, to_free_ahead, to_freeze
from sesame.engine.pool_parts import Admitted, Counts, PoolDependencies
from sesame.engine.sessions import SessionInstances
from sesame.engine.sharing import SharedInstances
from sesame.engine.startup import Startup
from sesame.model.clocks import Timer
from sesame.model.errors import Exhausted, Unavailable
from sesame.model.invocation import Target
from sesame.model.session import SessionKey
from sesame.model.snapshot import Snapshot
from sesame.sandbox.interface import KillReason

TICK_S = 1.0
# POLICY: when the engine stops, all PreStop hooks together may take this long.
LAST_HOOKS_S = 10.0

log = structlog.get_logger(__name__)


class Pool:
    """Belongs to one event loop."""

    def __init__(self, given: PoolDependencies) -> None:
        self.counts = Counts()
        self._given = given
        # Asked before an instance is started ahead of calls; only this pool reports instances to it.
        self.capacity = given.capacity or Capacity(given.caps, given.shortage)
        self._start_slots = StartSlots(given.caps.starts_at_once)
        self.startup = Startup(given.launcher, given.clocks, given.credentials, given.account_id, given.region)
        self.idle = IdleInstances()
        self.shared = SharedInstances()
        self._health = HealthChecks(given.clocks, self.shared, self.end)
        self.sessions = SessionInstances(given.clocks, self._take, self.acquire, self.is_current)
        self._tick: Timer | None = None
        self._ending: set[asyncio.Task[None]] = set()
        self._closed = False
        # Calls that wait for an instance or hold one, and those that hold one by snapshot key; counted by `Leasing`.
        self.calls, self.calls_of = 0, dict[str, int]()
        # `close` waits for this until no call is left; None before `close`.
        self.calls_ended: asyncio.Future[None] | None = None
        # Called when a provisioned instance has ended.
        self.on_provisioned_end: Callable[[Instance, KillReason], None] | None = None
        # None if every idle instance is kept for the fixed time.
        self.learning: Learning | None = None
        given.resolver.on_change(self._retire_outdated)

    def instances(self) -> list[Instance]:
        return self.capacity.instances()

    def instance(self, instance_id: str) -> Instance | None:
        return self.capacity.instance(instance_id)

    def lease(self, snapshot: Snapshot, session: SessionKey | None = None) -> Leasing:
        """`async with` yields a `Lease`, of the session's instance if there is one.

        An exception inside ends the instance.

        Raises `Exhausted` at a cap, and the errors of `Startup.bring_up` if no instance comes up.
        """
        return Leasing(self, snapshot, session)

    def release_provisioned(self, instance: Instance) -> None:
        """Ends the instance if it is idle. If it serves a call, it continues as if a call had started it."""
        if instance.state is State.IDLE:
            self._retire(instance, KillReason.UNWANTED)
        instance.provisioned_for, instance.runs_idle = None, False

    def set_runs_idle(self, instance: Instance, *, runs_idle: bool) -> None:
        """Sets whether a provisioned instance keeps running while it serves no call, instead of being frozen."""
        instance.runs_idle = runs_idle
        if runs_idle and instance.state is State.IDLE:
            instance.thaw()
        self._tick_soon()

    def has_idle(self, snapshot: Snapshot) -> bool:
        return self.idle.has(snapshot.key)

    def is_current(self, snapshot: Snapshot) -> bool:
        """Whether new calls would still resolve to this snapshot."""
        target = Target(snapshot.service, snapshot.version_id, snapshot.function)
        return self._given.resolver.is_current(target, snapshot.key)

    def provisioned_places(self, snapshot: Snapshot) -> int:
        """How many calls of the snapshot would find a place in a provisioned instance now."""
        return self.idle.provisioned(snapshot.key) + self.shared.places(snapshot.key, provisioned=True)

    async def close(self, patience_s: float = 0.0) -> None:
        """Gives calls in flight `patience_s` seconds to end, starts nothing new, then ends every instance.

        Idle instances are ended at once, after their PreStop hook. A call still in flight after `patience_s` ends as if
        its process had died.
        """
        self._closed = True
        self.startup.close()
        if self._tick is not None:
            self._tick.cancel()
        for instance in self.instances():
            if instance.state is State.IDLE:
                self._retire(instance, KillReason.STOPPING)
        if patience_s > 0 and self.calls:
            self.calls_ended = asyncio.get_running_loop().create_future()
            await asyncio.wait({self.calls_ended}, timeout=patience_s)
        for instance in self.instances():
            if instance.calls and instance.state is not State.DEAD:
                self.end(instance, KillReason.STOPPING)
        if self._ending:
            await asyncio.wait(self._ending, timeout=LAST_HOOKS_S)
        for instance in self.instances():
            if instance.state is not State.DEAD:
                self.end(instance, KillReason.STOPPING)
        while self._ending:
            await asyncio.wait(self._ending)

    def acquire_warm(self, snapshot: Snapshot) -> Lease | None:
        """For `Leasing` only. Leases a warm instance without waiting; None if there is none."""
        lease = self._warm(snapshot)
        if lease is not None:
            self.counts.warm += 1
        return lease

    async def acquire(self, snapshot: Snapshot) -> Lease:
        """For `Leasing` and `sessions` only. Waits for an instance; the lease's owner must release or end it."""
        try:
            lease = self._warm(snapshot) or await self.warm_or_cold(snapshot)
        except Exhausted:
            self.counts.refused += 1
            raise
        except BaseException:
            self.counts.failed += 1
            raise
        self.counts.cold += lease.cold
        self.counts.warm += not lease.cold
        return lease

    def release(self, instance: Instance) -> None:
        """A call on this instance has ended well. After its last call the instance is kept or, if outdated, ended."""
        died_since = instance.death is not None
        if instance.sessions:
            self.sessions.room(instance)
        ended_or_busy = instance.state is DEAD or instance.calls > 0
        if instance.shared and (instance.spent or died_since or not ended_or_busy):
            self.shared.close(instance)
        if ended_or_busy:
            return
        if instance.spent:
            self.end(instance, KillReason.FAILED if instance.serves_on else KillReason.DONE)
            return
        if died_since:
            self.end(instance, KillReason.DIED)
            return
        given = self._given
        if self._closed or (instance.current_after != given.resolver.changes and not self._is_current(instance)):
            self._retire(instance, KillReason.STOPPING if self._closed else KillReason.OUTDATED)
            return
        instance.move(IDLE)
        instance.idle_since = given.clocks.monotonic()
        self.idle.put(instance)
        self.capacity.told_free()
        if self._tick is None:
            self._tick_soon()
        if self.capacity.memory_here_mb + instance.snapshot.limits.memory_mb > given.caps.memory_mb:
            for victim in to_free_ahead(self.capacity.here(), instance.snapshot, given.caps):
                self.counts.evicted += 1
                self._retire(victim, KillReason.EVICTED)

    def end(self, instance: Instance, reason: KillReason) -> "asyncio.Task[None]":
        """Takes the instance out of service; its capacity is free once the returned task is done."""
        if instance.state is State.IDLE:
            self.idle.remove(instance)
        if instance.state is not State.DEAD:
            instance.move(State.DEAD)
        self.shared.close(instance)
        return self._background(self._end(instance, reason))

    def readied(self, instance: Instance) -> None:
        """The instance is initialized, so it may serve further calls beside the one that started it."""
        if self.shared.open(instance):
            self.sessions.room(instance, every=True)

    def _warm(self, snapshot: Snapshot) -> Lease | None:
        if snapshot.limits.concurrency > 1 and (shared := self.shared.take(snapshot)) is not None:
            return Lease(shared, cold=False)
        instance = self.idle.take(snapshot.key)
        if instance is None:
            return None
        self._begin(instance)
        return Lease(instance, cold=False)

    def _begin(self, instance: Instance) -> None:
        instance.move(BUSY)
        if instance.frozen:
            instance.thaw()
        if instance.shared:
            self.shared.begin(instance)

    def _take(self, instance: Instance) -> Lease | None:
        """Leases this instance for a call of one of its sessions; None if it has no room."""
        if instance.state is State.IDLE:
            self.idle.remove(instance)
            self._begin(instance)
        elif not self.shared.has_room(instance):
            return None
        self.counts.warm += 1
        return Lease(instance, cold=False)

    def _warm_after(self, snapshot: Snapshot, asked_at: float) -> Lease | None:
        if (warm := self._warm(snapshot)) is not None:
            warm.queue_ms = (self._given.clocks.monotonic() - asked_at) * 1000
        return warm

    async def warm_or_cold(self, snapshot: Snapshot, provisioned_for: Target | None = None) -> Lease:
        """For `acquire` and `engine.readying`. With `provisioned_for`, the instance is always a cold one."""
        self.startup.require_startable(snapshot)
        asked_at = self._given.clocks.monotonic()
        while True:
            self._refuse_when_closed()
            if provisioned_for is None and await self.shared.soon(snapshot):
                if (warm := self._warm_after(snapshot, asked_at)) is not None:
                    return warm
                self.startup.require_startable(snapshot)
                continue
            leaving = await self.capacity.granted(snapshot, provisioned=provisioned_for is not None)
            if leaving is not None:
                return await self._cold(self.admit(snapshot, leaving, provisioned_for), asked_at)
            await self.an_end()
            if provisioned_for is None and (warm := self._warm_after(snapshot, asked_at)) is not None:
                return warm

    async def _cold(self, admitted: Admitted, asked_at: float) -> Lease:
        clocks, instance, ending = self._given.clocks, admitted.instance, admitted.ending
        snapshot = instance.snapshot
        self.shared.begin(instance)
        try:
            if ending:
                # If this call is cancelled, the evicted instances are ended all the same.
                await asyncio.wait(ending)
            async with self._start_slots.slot(f"{snapshot.service}/{snapshot.function}"):
                # While this call waited for its slot, another may have ended and left a warm instance.
                if instance.provisioned_for is None and (warm := self._warm_after(snapshot, asked_at)) is not None:
                    instance.move(State.DEAD)
                    self.shared.close(instance)
                    self.capacity.free(instance)
                    return warm
                started_at = clocks.monotonic()
                await self.startup.bring_up(instance, lambda: self._died(instance))
        except BaseException:
            self.shared.close(instance)
            self.capacity.free(instance)
            raise
        if instance.state is State.DEAD:
            # `close` ended it before its process was started.
            await asyncio.shield(self.end(instance, KillReason.STOPPING))
            self._refuse_when_closed()
        self._health.watch(instance)
        return Lease(instance, True, (started_at - asked_at) * 1000, (clocks.monotonic() - started_at) * 1000)

    def _refuse_when_closed(self) -> None:
        if self._closed:
            raise Unavailable("the server is stopping")

    async def an_end(self) -> None:
        await asyncio.wait(self._ending, return_when=asyncio.FIRST_COMPLETED)

    def admit(self, snapshot: Snapshot, leaving: list[Instance], provisioned_for: Target | None = None) -> Admitted:
        """Creates an instance, which counts against the caps from now on, and evicts those `leaving` for it."""
        instance = Instance(snapshot, self.capacity.name(snapshot), self._given.sink, self._given.clocks)
        instance.provisioned_for = provisioned_for
        self.capacity.take(instance, leaving)
        # Evictions on other agents are counted there.
        self.counts.evicted += sum(not victim.elsewhere for victim in leaving)
        return Admitted(instance, [self._retire(victim, KillReason.EVICTED) for victim in leaving])

    def _is_current(self, instance: Instance) -> bool:
        resolver = self._given.resolver
        if instance.current_after == resolver.changes:
            return True
        if not self.is_current(instance.snapshot):
            return False
        instance.current_after = resolver.changes
        return True

    def _on_tick(self) -> None:
        self._tick = None
        try:
            self._expire_and_freeze()
        finally:
            self._tick_soon()

    def _expire_and_freeze(self) -> None:
        now, caps = self._given.clocks.monotonic(), self._given.caps
        for idle in self.idle.groups():
            learned = self.learning.last_kept(idle) if self.learning is not None else None
            for instance in expired(idle, now, caps.keep_alive_s, last_kept=learned):
                self.counts.expired += 1
                idle.remove(instance)
                self._retire(instance, KillReason.EXPIRED)
            for instance in to_freeze(idle, now, caps.freeze_after_s):
                if self._given.hooks.has(instance, PRE_FREEZE):
                    self.idle.remove(instance)
                    instance.move(State.BUSY)
                    self._background(self._freeze_after_hook(instance))
                else:
                    instance.freeze()

    def _tick_soon(self) -> None:
        if self._tick is None and self.idle.changes_by_time() and not self._closed:
            self._tick = self._given.clocks.call_later(TICK_S, self._on_tick)

    def _retire_outdated(self) -> None:
        """Ends the idle instances of changed and deleted functions; busy ones are ended after their calls."""
        for idle in self.idle.groups():
            if not self._is_current(idle[0]):
                self.counts.outdated += len(idle)
                for instance in idle:
                    self._retire(instance, KillReason.OUTDATED)

    def _died(self, instance: Instance) -> None:
        """The instance's process ended between two calls."""
        if instance.state is State.IDLE:
            self.counts.died_idle += 1
            self.end(instance, KillReason.DIED)

    def _retire(self, instance: Instance, reason: KillReason) -> "asyncio.Task[None]":
        """Ends an instance on which nothing went wrong, after its PreStop hook if it has one.

        POLICY: during the hook it counts against the caps, as during a call.
        """
        self.sessions.gone(instance)
        if not self._given.hooks.has(instance, PRE_STOP):
            return self.end(instance, reason)
        if instance.state is State.IDLE:
            self.idle.remove(instance)
            instance.thaw()
            instance.move(State.BUSY)
        return self._background(self._end_after_hook(instance, reason))

    async def _end_after_hook(self, instance: Instance, reason: KillReason) -> None:
        try:
            await self._given.hooks.run(instance, PRE_STOP)
        finally:
            if instance.state is not State.DEAD:
                instance.move(State.DEAD)
            await self._end(instance, reason)

    async def _freeze_after_hook(self, instance: Instance) -> None:
        """POLICY: a call that arrives during the hook takes another instance, because the hook may take longer than a
        cold start.
        """
        usable = await self._given.hooks.run(instance, PRE_FREEZE)
        if instance.state is State.DEAD:
            return
        if not usable:
            instance.move(State.DEAD)
            await self._end(instance, KillReason.FAILED)
        elif self._closed or not self._is_current(instance):
            self._retire(instance, KillReason.STOPPING if self._closed else KillReason.OUTDATED)
        else:
            instance.move(State.IDLE)
            self.idle.put_back(instance)
            self.sessions.room(instance, every=True)
            if not instance.runs_idle:
                instance.freeze()
            self._tick_soon()

    def _background(self, work: Coroutine[None, None, None]) -> "asyncio.Task[None]":
        """Starts a task that `close` waits for."""
        task = asyncio.get_running_loop().create_task(work)
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)
        return task

    async def _end(self, instance: Instance, reason: KillReason) -> None:
        self.sessions.gone(instance)
        try:
            await instance.kill(reason)
        except Exception:
            log.exception("an instance could not be ended", instance=instance.instance_id)
            raise
        finally:
            self.capacity.free(instance)
            if instance.provisioned_for is not None and self.on_provisioned_end is not None:
                self.on_provisioned_end(instance, reason)
