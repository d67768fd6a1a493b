"""All instances there are: finds a warm one, makes a cold one under the caps, and lets idle ones go.

Used by `engine.dispatcher` through leases; compares on each tick what runs with what is wanted.
Never keeps an instance with which anything went wrong.
"""

import asyncio
import uuid

import msgspec
import structlog

from sesame.engine import environment
from sesame.engine.clock import Clock, Timer
from sesame.engine.instance import Instance, State
from sesame.engine.journal import Journal, LogSink, LogSource
from sesame.engine.resolver import Resolver
from sesame.engine.scaling import Caps, expired, to_freeze, victims
from sesame.model.errors import PlatformError, ResourceExhausted
from sesame.model.invocation import Snapshot, Target
from sesame.sandbox.seam import Sandbox, SandboxDriver, SandboxSpec, SandboxStartFailed

TICK_S = 1.0
START_ATTEMPTS = 3

log = structlog.get_logger(__name__)


class Lease(msgspec.Struct):
    """One instance, BUSY, for one call. `queue_ms` and `start_ms` are zero for a warm one."""

    instance: Instance
    cold: bool
    queue_ms: float = 0.0
    start_ms: float = 0.0


class PoolParts(msgspec.Struct, frozen=True):
    driver: SandboxDriver
    resolver: Resolver
    clock: Clock
    caps: Caps
    sink: LogSink
    account_id: str
    region: str


class Pool:
    """Belongs to one event loop; no locks."""

    def __init__(self, parts: PoolParts) -> None:
        self._parts = parts
        self._idle: dict[str, list[Instance]] = {}
        self._live: dict[str, Instance] = {}
        self._memory_mb = 0
        self._starts = asyncio.Semaphore(parts.caps.starts_at_once)
        self._tick: Timer | None = None
        self._ending: set[asyncio.Task[None]] = set()
        self._closed = False
        parts.resolver.on_change(self._retire_outdated)

    def instances(self) -> list[Instance]:
        return list(self._live.values())

    def lease(self, snapshot: Snapshot) -> "_Leasing":
        """`async with` gives the `Lease`. Whatever goes wrong inside, the instance is killed and not used again.

        Raises `ResourceExhausted` at a cap and `PlatformError` when no instance comes up.
        """
        return _Leasing(self, snapshot)

    async def close(self) -> None:
        self._closed = True
        if self._tick is not None:
            self._tick.cancel()
        self._idle.clear()
        await asyncio.gather(*(self.end(instance) for instance in self.instances()), *self._ending)

    async def acquire(self, snapshot: Snapshot) -> Lease:
        """For `_Leasing` alone: what is acquired must be released or ended."""
        return self._warm(snapshot) or await self._cold(snapshot)

    def _warm(self, snapshot: Snapshot) -> Lease | None:
        idle = self._idle.get(snapshot.key)
        while idle:
            instance = idle.pop()
            if instance.state is State.IDLE:
                instance.move(State.BUSY)
                instance.thaw()
                return Lease(instance, cold=False)
        return None

    async def _cold(self, snapshot: Snapshot) -> Lease:
        clock = self._parts.clock
        if self._closed:
            raise PlatformError("the server is stopping")
        asked_at = clock.now()
        instance = await self._admit(snapshot)
        try:
            async with self._starts:
                # While this call waited for its turn, another may have ended and left a warm instance.
                if (warm := self._warm(snapshot)) is not None:
                    self._forget(instance)
                    instance.move(State.DEAD)
                    warm.queue_ms = (clock.now() - asked_at) * 1000
                    return warm
                started_at = clock.now()
                sandbox = await self._start(instance)
        except SandboxStartFailed as error:
            self._forget(instance)
            log.error("no instance came up", function=snapshot.function.function_name, error=str(error))
            raise PlatformError(f"no instance came up: {error}") from error
        except BaseException:
            self._forget(instance)
            raise
        instance.started(sandbox)
        return Lease(instance, True, (started_at - asked_at) * 1000, (clock.now() - started_at) * 1000)

    async def _start(self, instance: Instance) -> Sandbox:
        """POLICY: a start that fails is tried again, because nothing of the call has reached the function yet."""
        parts, snapshot = self._parts, instance.snapshot
        spec = _spec(snapshot, instance.instance_id, parts.account_id, parts.region)
        for attempt in range(1, START_ATTEMPTS + 1):
            try:
                return await parts.driver.create(spec, instance.journal.write, lambda: self._died(instance))
            except SandboxStartFailed as error:
                log.warning(
                    "a start failed", function=snapshot.function.function_name, attempt=attempt, error=str(error)
                )
                failure = error
        raise failure

    async def _admit(self, snapshot: Snapshot) -> Instance:
        """Takes a place under the caps, sending idle instances away for it if need be."""
        caps, function = self._parts.caps, snapshot.function
        owner = (snapshot.service.service_name, function.function_name)
        leaving = victims(self.instances(), snapshot, caps, self._memory_mb)
        if isinstance(leaving, str):
            raise ResourceExhausted(leaving)
        source = LogSource(
            owner[0],
            owner[1],
            snapshot.version_id,
            instance_id := f"c-{uuid.uuid4()}",
            snapshot.service.log_config.project,
            snapshot.service.log_config.logstore,
        )
        instance = Instance(snapshot, instance_id, Journal(source, self._parts.sink), self._parts.clock)
        for victim in leaving:
            victim.move(State.DEAD)
            self._forget(victim)
        self._live[instance_id] = instance
        self._memory_mb += function.memory_size
        try:
            for victim in leaving:
                await victim.kill()
        except BaseException:
            self._forget(instance)
            raise
        return instance

    def release(self, instance: Instance) -> None:
        snapshot = instance.snapshot
        if instance.state is not State.BUSY or self._closed or not self._is_current(instance):
            self._end_soon(instance)
            return
        instance.move(State.IDLE)
        instance.idle_since = self._parts.clock.now()
        self._idle.setdefault(snapshot.key, []).append(instance)
        if self._tick is None:
            self._tick = self._parts.clock.call_later(TICK_S, self._on_tick)

    def _is_current(self, instance: Instance) -> bool:
        snapshot = instance.snapshot
        target = Target(snapshot.service.service_name, snapshot.version_id, snapshot.function.function_name)
        return self._parts.resolver.is_current(target, snapshot.key)

    def _on_tick(self) -> None:
        self._tick = None
        now = self._parts.clock.now()
        for key, idle in list(self._idle.items()):
            for instance in expired(idle, now, self._parts.caps.keep_alive_s):
                idle.remove(instance)
                self._end_soon(instance)
            for instance in to_freeze(idle, now, self._parts.caps.freeze_after_s):
                instance.freeze()
            if not idle:
                del self._idle[key]
        if self._idle and not self._closed:
            self._tick = self._parts.clock.call_later(TICK_S, self._on_tick)

    def _retire_outdated(self) -> None:
        """Idle instances of what was changed or deleted; busy ones end when their call does."""
        for key, idle in list(self._idle.items()):
            if idle and not self._is_current(idle[0]):
                del self._idle[key]
                for instance in idle:
                    self._end_soon(instance)

    def _died(self, instance: Instance) -> None:
        """The process ended between two calls."""
        idle = self._idle.get(instance.snapshot.key, [])
        if instance in idle:
            idle.remove(instance)
            self._end_soon(instance)

    def _end_soon(self, instance: Instance) -> None:
        task = asyncio.get_running_loop().create_task(self.end(instance))
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)

    async def end(self, instance: Instance) -> None:
        try:
            await instance.kill()
        finally:
            self._forget(instance)

    def _forget(self, instance: Instance) -> None:
        if self._live.pop(instance.instance_id, None) is None:
            return
        function = instance.snapshot.function
        self._memory_mb -= function.memory_size


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
            await asyncio.shield(self._pool.end(self._lease.instance))


def _spec(snapshot: Snapshot, instance_id: str, account_id: str, region: str) -> SandboxSpec:
    function = snapshot.function
    return SandboxSpec(
        instance_id=instance_id,
        runtime=function.runtime,
        code_dir=snapshot.code_dir,
        layer_dirs=snapshot.layer_dirs,
        environment=environment.compose(snapshot, instance_id, account_id, region),
        memory_mb=function.memory_size,
        disk_mb=function.disk_size,
        setup=environment.setup(snapshot, account_id, region),
    )
