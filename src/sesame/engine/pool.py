"""All instances there are: finds a warm one, makes a cold one under the caps, and lets idle ones go.

Used by `engine.dispatcher` through leases; compares what runs with what is wanted on each change and each tick.
Never keeps an instance with which anything went wrong.
"""

import asyncio
import bisect
import uuid
from collections.abc import Coroutine

import msgspec
import structlog

from sesame.engine.capacity import Places, Turns
from sesame.engine.hooks import PRE_FREEZE, PRE_STOP, Hooks
from sesame.engine.instance import Instance, State
from sesame.engine.invocation_log import Journal, LogSink, LogSource
from sesame.engine.policies import Caps, expired, to_freeze, to_make_room
from sesame.engine.resolver import Snapshots
from sesame.engine.startup import Startup
from sesame.model.clocks import Clocks, Timer
from sesame.model.errors import PlatformError, ResourceExhausted
from sesame.model.invocation import Snapshot, Target
from sesame.sandbox.interface import SandboxDriver

TICK_S = 1.0
# POLICY: when everything stops, what functions want done before their end may take so long.
LAST_HOOKS_S = 10.0

log = structlog.get_logger(__name__)


class Lease(msgspec.Struct):
    """One instance, BUSY, for one call. `queue_ms` and `start_ms` are zero for a warm one."""

    instance: Instance
    cold: bool
    queue_ms: float = 0.0
    start_ms: float = 0.0


class PoolParts(msgspec.Struct, frozen=True):
    driver: SandboxDriver
    resolver: Snapshots
    clocks: Clocks
    caps: Caps
    sink: LogSink
    account_id: str
    region: str
    hooks: Hooks


class Counts(msgspec.Struct):
    """What happened since the start. Each call that comes for an instance is one of warm, cold, refused or failed."""

    warm: int = 0
    cold: int = 0
    refused: int = 0
    failed: int = 0
    evicted: int = 0
    expired: int = 0
    outdated: int = 0
    died_idle: int = 0


class Pool:
    """Belongs to one event loop; no locks."""

    def __init__(self, parts: PoolParts) -> None:
        self.counts = Counts()
        self._parts = parts
        self._places = Places(parts.caps)
        self._turns = Turns(parts.caps.starts_at_once)
        self._startup = Startup(parts.driver, parts.clocks, parts.account_id, parts.region)
        # Only what is IDLE, the one that was used last at the end.
        self._idle: dict[str, list[Instance]] = {}
        self._tick: Timer | None = None
        self._ending: set[asyncio.Task[None]] = set()
        self._closed = False
        parts.resolver.on_change(self._retire_outdated)

    def instances(self) -> list[Instance]:
        return self._places.instances()

    @property
    def memory_mb(self) -> int:
        """What all instances take together, by their functions' memory sizes."""
        return self._places.memory_mb

    def lease(self, snapshot: Snapshot) -> "_Leasing":
        """`async with` gives the `Lease`. Whatever goes wrong inside, the instance is killed and not used again.

        Raises `ResourceExhausted` at a cap, and what `Startup.bring_up` says when no instance comes up.
        """
        return _Leasing(self, snapshot)

    async def close(self) -> None:
        """Afterwards nothing runs. Calls that run meanwhile end as if their process had died; idle instances stop."""
        self._closed = True
        self._startup.close()
        if self._tick is not None:
            self._tick.cancel()
        self._idle.clear()
        for instance in self.instances():
            if instance.state is State.IDLE:
                self._retire(instance)
            elif instance.state is not State.DEAD:
                self.end(instance)
        if self._ending:
            await asyncio.wait(self._ending, timeout=LAST_HOOKS_S)
        for instance in self.instances():
            if instance.state is not State.DEAD:
                self.end(instance)
        while self._ending:
            await asyncio.wait(self._ending)

    async def acquire(self, snapshot: Snapshot) -> Lease:
        """For `_Leasing` alone: what is acquired must be released or ended."""
        lease = self._warm(snapshot)
        if lease is not None:
            self.counts.warm += 1
            return lease
        try:
            lease = await self._warm_or_cold(snapshot)
        except ResourceExhausted:
            self.counts.refused += 1
            raise
        except BaseException:
            self.counts.failed += 1
            raise
        if lease.cold:
            self.counts.cold += 1
        else:
            self.counts.warm += 1
        return lease

    def release(self, instance: Instance) -> None:
        snapshot = instance.snapshot
        if instance.state is State.DEAD:
            return
        if self._closed or not self._is_current(instance):
            self._retire(instance)
            return
        instance.move(State.IDLE)
        instance.idle_since = self._parts.clocks.monotonic()
        self._idle.setdefault(snapshot.key, []).append(instance)
        self._tick_soon()
        if self._places.memory_mb + snapshot.function.memory_size > self._parts.caps.memory_mb:
            self._make_room(snapshot)

    def end(self, instance: Instance) -> "asyncio.Task[None]":
        """It serves nobody from here on; its place is free when the task is done."""
        if instance.state is not State.DEAD:
            instance.move(State.DEAD)
        return self._ends(self._end(instance))

    def _warm(self, snapshot: Snapshot) -> Lease | None:
        idle = self._idle.get(snapshot.key)
        if not idle:
            return None
        instance = idle.pop()
        instance.move(State.BUSY)
        instance.thaw()
        return Lease(instance, cold=False)

    async def _warm_or_cold(self, snapshot: Snapshot) -> Lease:
        self._startup.require_startable(snapshot)
        asked_at = self._parts.clocks.monotonic()
        while True:
            self._refuse_when_closed()
            leaving = self._places.room(snapshot)
            if leaving is not None:
                return await self._cold(snapshot, leaving, asked_at)
            await asyncio.wait(self._ending, return_when=asyncio.FIRST_COMPLETED)
            if (warm := self._warm(snapshot)) is not None:
                warm.queue_ms = (self._parts.clocks.monotonic() - asked_at) * 1000
                return warm

    async def _cold(self, snapshot: Snapshot, leaving: list[Instance], asked_at: float) -> Lease:
        clocks = self._parts.clocks
        ending = [self._evict(victim) for victim in leaving]
        instance = self._admit(snapshot)
        try:
            if ending:
                # They end also when this caller goes.
                await asyncio.wait(ending)
            async with self._turns.turn(_name(snapshot)):
                # While this call waited for its turn, another may have ended and left a warm instance.
                if (warm := self._warm(snapshot)) is not None:
                    instance.move(State.DEAD)
                    self._places.leave(instance)
                    warm.queue_ms = (clocks.monotonic() - asked_at) * 1000
                    return warm
                started_at = clocks.monotonic()
                sandbox = await self._startup.bring_up(instance, lambda: self._died(instance))
        except BaseException:
            self._places.leave(instance)
            raise
        instance.started(sandbox)
        if self._closed:
            # `close` found it without a process.
            await asyncio.shield(self.end(instance))
            self._refuse_when_closed()
        return Lease(instance, True, (started_at - asked_at) * 1000, (clocks.monotonic() - started_at) * 1000)

    def _refuse_when_closed(self) -> None:
        if self._closed:
            raise PlatformError("the server is stopping")

    def _admit(self, snapshot: Snapshot) -> Instance:
        """Takes the place that there is."""
        service, function = snapshot.service, snapshot.function
        instance_id = f"c-{uuid.uuid4()}"
        source = LogSource(
            service=service.service_name,
            function=function.function_name,
            version_id=snapshot.version_id,
            instance_id=instance_id,
            log_project=service.log_config.project,
            logstore=service.log_config.logstore,
        )
        instance = Instance(snapshot, instance_id, Journal(source, self._parts.sink), self._parts.clocks)
        self._places.enter(instance)
        return instance

    def _evict(self, victim: Instance) -> "asyncio.Task[None]":
        """Its place goes at once to whom it was evicted for, who waits for its end before starting."""
        self.counts.evicted += 1
        self._idle[victim.snapshot.key].remove(victim)
        self._places.leave(victim)
        return self._retire(victim)

    def _make_room(self, snapshot: Snapshot) -> None:
        for instance in to_make_room(self._places.instances(), snapshot, self._parts.caps):
            self.counts.evicted += 1
            self._idle[instance.snapshot.key].remove(instance)
            self._retire(instance)

    def _is_current(self, instance: Instance) -> bool:
        resolver, snapshot = self._parts.resolver, instance.snapshot
        if instance.current_after == resolver.changes:
            return True
        target = Target(snapshot.service.service_name, snapshot.version_id, snapshot.function.function_name)
        if not resolver.is_current(target, snapshot.key):
            return False
        instance.current_after = resolver.changes
        return True

    def _on_tick(self) -> None:
        self._tick = None
        now, caps = self._parts.clocks.monotonic(), self._parts.caps
        for key, idle in list(self._idle.items()):
            for instance in expired(idle, now, caps.keep_alive_s):
                self.counts.expired += 1
                idle.remove(instance)
                self._retire(instance)
            for instance in to_freeze(idle, now, caps.freeze_after_s):
                if self._parts.hooks.has(instance, PRE_FREEZE):
                    idle.remove(instance)
                    instance.move(State.BUSY)
                    self._ends(self._freeze_after_hook(instance))
                else:
                    instance.freeze()
            if not idle:
                del self._idle[key]
        if self._idle:
            self._tick_soon()

    def _tick_soon(self) -> None:
        if self._tick is None and not self._closed:
            self._tick = self._parts.clocks.call_later(TICK_S, self._on_tick)

    def _retire_outdated(self) -> None:
        """Idle instances of what was changed or deleted; busy ones end when their call does."""
        for key, idle in list(self._idle.items()):
            if idle and not self._is_current(idle[0]):
                del self._idle[key]
                self.counts.outdated += len(idle)
                for instance in idle:
                    self._retire(instance)

    def _died(self, instance: Instance) -> None:
        """The process ended between two calls."""
        if instance.state is State.IDLE:
            self.counts.died_idle += 1
            self._idle[instance.snapshot.key].remove(instance)
            self.end(instance)

    def _retire(self, instance: Instance) -> "asyncio.Task[None]":
        """The orderly end of an instance with which nothing went wrong: its hook first, if it has one.

        POLICY: until then it keeps its place, as a call would.
        """
        if not self._parts.hooks.has(instance, PRE_STOP):
            return self.end(instance)
        if instance.state is State.IDLE:
            instance.thaw()
            instance.move(State.BUSY)
        return self._ends(self._end_after_hook(instance))

    async def _end_after_hook(self, instance: Instance) -> None:
        try:
            await self._parts.hooks.run(instance, PRE_STOP)
        finally:
            if instance.state is not State.DEAD:
                instance.move(State.DEAD)
            await self._end(instance)

    async def _freeze_after_hook(self, instance: Instance) -> None:
        """POLICY: a call that comes meanwhile takes another instance; the hook may take longer than a cold start."""
        usable = await self._parts.hooks.run(instance, PRE_FREEZE)
        if instance.state is State.DEAD:
            return
        if not usable:
            instance.move(State.DEAD)
            await self._end(instance)
        elif self._closed or not self._is_current(instance):
            self._retire(instance)
        else:
            instance.move(State.IDLE)
            idle = self._idle.setdefault(instance.snapshot.key, [])
            bisect.insort(idle, instance, key=lambda other: other.idle_since)
            instance.freeze()
            self._tick_soon()

    def _ends(self, doing: Coroutine[None, None, None]) -> "asyncio.Task[None]":
        """A task that `close` waits for."""
        task = asyncio.get_running_loop().create_task(doing)
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)
        return task

    async def _end(self, instance: Instance) -> None:
        try:
            await instance.kill()
        except Exception:
            log.exception("an instance could not be ended", instance=instance.instance_id)
            raise
        finally:
            self._places.leave(instance)


class _Leasing:
    """The life of one lease, written out because it stands on the path of every call."""

    __slots__ = ("_lease", "_pool", "_snapshot")

    def __init__(self, pool: Pool, snapshot: Snapshot) -> None:
        self._pool = pool
        self._snapshot = snapshot

    async def __aenter__(self) -> Lease:
        self._lease = await self._pool.acquire(self._snapshot)
        return self._lease

    async def __aexit__(self, kind: type[BaseException] | None, *_rest: object) -> None:
        if kind is None:
            self._pool.release(self._lease.instance)
        else:
            # The end is waited for, so that a call that failed leaves nothing; it comes also when the caller goes.
            await asyncio.shield(self._pool.end(self._lease.instance))


def _name(snapshot: Snapshot) -> str:
    return f"{snapshot.service.service_name}/{snapshot.function.function_name}"
