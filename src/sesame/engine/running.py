"""The engine of this process: dispatcher and pool behind `engine.interface.Engine`.

Built by `app` and by `sesame invoke`.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager

import msgspec

from sesame.engine.announced import AnnouncedCalls
from sesame.engine.async_policies import (
    function_has_capacity,
    has_ample_capacity,
    has_capacity,
    machine_has_capacity,
)
from sesame.engine.async_work import OnMachine
from sesame.engine.capacity import Capacity
from sesame.engine.debugging import Debugging, DebugSnapshots
from sesame.engine.dispatcher import Dispatcher
from sesame.engine.environment import CredentialsOf
from sesame.engine.hooks import Hooks
from sesame.engine.instance import State
from sesame.engine.interface import Destined, InstanceInfo, Invoke, Observer, Provisioned, RunningCommand
from sesame.engine.invocation_log import LogSink, LogSource
from sesame.engine.keep_alive import KeepAlive
from sesame.engine.loading import Loading
from sesame.engine.policies import Caps, has_place, started_by, taken_by
from sesame.engine.pool import Pool
from sesame.engine.pool_parts import PoolDependencies
from sesame.engine.prewarming import Prewarming
from sesame.engine.provisioned import ProvisionedInstances
from sesame.engine.readying import Readying
from sesame.engine.resolver import Snapshots
from sesame.model import limits
from sesame.model.clocks import Clocks
from sesame.model.command import Command
from sesame.model.errors import INSTANCE, CallerError, NotFound
from sesame.model.invocation import Target
from sesame.model.session import SessionKey
from sesame.model.session_affinity import SessionAffinity
from sesame.model.snapshot import Snapshot
from sesame.sandbox.interface import SandboxLauncher


class EngineDependencies(msgspec.Struct, frozen=True, kw_only=True):
    """What an engine is built from. Functions see `account_id` and `region` in their context.

    `shortage` is passed to `engine.capacity`, `capacity` to the pool. Debugging requires `debuggable`. `around_calls`
    receives `Engine.invoke` and returns the function to call instead.
    """

    launcher: SandboxLauncher
    resolver: Snapshots
    clocks: Clocks
    caps: Caps
    sink: LogSink
    credentials: CredentialsOf
    account_id: str
    region: str
    keep_alive: KeepAlive | None = None
    recursion_limit: int = 0
    observer: Observer = Observer()
    debuggable: bool = False
    around_calls: Callable[[Invoke], Invoke] | None = None
    shortage: Callable[[], str] = lambda: ""
    capacity: Capacity | None = None


class LocalEngine:
    """Implements `Engine`."""

    def __init__(self, given: EngineDependencies) -> None:
        resolver: Snapshots = given.resolver
        debugged = DebugSnapshots(given.resolver) if given.debuggable else None
        if debugged is not None:
            resolver = debugged
        self._resolver = resolver
        self.caps = given.caps
        self.pool = Pool(
            PoolDependencies(
                launcher=given.launcher,
                resolver=resolver,
                clocks=given.clocks,
                caps=given.caps,
                sink=_observed(given.sink, given.observer.wrote),
                account_id=given.account_id,
                region=given.region,
                hooks=Hooks(given.clocks, given.credentials),
                shortage=given.shortage,
                credentials=given.credentials,
                capacity=given.capacity,
            )
        )
        self.dispatcher = Dispatcher(
            resolver,
            self.pool,
            given.clocks,
            given.credentials,
            recursion_limit=given.recursion_limit,
            on_end=given.observer.ended,
        )
        # The dispatcher's bound method itself, so that no call pays for an extra coroutine.
        self.invoke: Invoke = self.dispatcher.invoke
        if given.around_calls is not None:
            self.invoke = given.around_calls(self.invoke)
        readying = Readying(self.pool, given.clocks, given.credentials)
        self.provisioned = ProvisionedInstances(self.pool, resolver, given.clocks, readying)
        self.prewarming = None
        if given.keep_alive is not None:
            self.prewarming = self.pool.learning = Prewarming(self.pool, given.keep_alive, given.clocks, readying)
        self.load = Loading(resolver, self.pool, given.clocks, given.credentials).load
        self.announce = AnnouncedCalls(resolver, self.pool, given.caps, given.observer.refused).announce
        # The cached affinities, and the resolver's change number for which they are valid.
        self._affinities: dict[Target, SessionAffinity | None] = {}
        self._affinities_after = -1
        self._hear_others: Callable[[], Awaitable[None]] | None = None
        # None unless the engine was built `debuggable`.
        self.debugging = None if debugged is None else Debugging(debugged, self.pool)

    def join(self, around_calls: Callable[[Invoke], Invoke], hear_others: Callable[[], Awaitable[None]]) -> None:
        """Other agents have instances too. `hear_others` fetches from them which of their instances serve calls."""
        self.invoke = around_calls(self.invoke)
        self._hear_others = hear_others

    @property
    def calls_in_flight(self) -> int:
        return self.pool.calls

    @property
    def calls_ended(self) -> int:
        return self.dispatcher.ended.total()

    def destined(self, target: Target, session_id: str = "") -> Destined:
        snapshot = self._resolver.resolve(target, session_id)
        # LATEST is never the result of an alias's draw.
        version = "" if snapshot.version_id == limits.LATEST else snapshot.version_id
        return Destined(version, snapshot.launch.web_server is not None)

    def affinity(self, target: Target) -> SessionAffinity | None:
        if self._affinities_after != self._resolver.changes:
            self._affinities, self._affinities_after = {}, self._resolver.changes
        if target in self._affinities:
            return self._affinities[target]
        try:
            shares = self._resolver.shares(target)
        except CallerError:
            # The call itself will report the reason.
            return None
        # With several versions, take any affinity: the session's id then decides which version serves.
        found = next((snapshot.affinity for snapshot, _weight in shares if snapshot.affinity is not None), None)
        self._affinities[target] = found
        return found

    def session_instance(self, parent: str, session_id: str) -> str:
        return self.pool.sessions.instance_of((parent, session_id))

    def forget_session(self, session: SessionKey) -> None:
        self.pool.sessions.end_of(session)

    def end_session(self, parent: str, session_id: str) -> None:
        """Unbinds the session from its instance."""
        self.pool.sessions.end((parent, session_id))

    def has_capacity_for_async(
        self,
        target: Target,
        calling: Mapping[Target, int],
        starting: Mapping[Target, int],
        there: OnMachine | None = None,
        free: int = 0,
    ) -> bool:
        """See `async_work.CallEngine`. True if the function cannot be called: the call itself reports the reason."""
        try:
            snapshot = self._resolver.resolve(target)
        except CallerError:
            return True
        if there is None and self._has_ample_capacity(snapshot, calling, starting):
            return True
        fresh, own = self._snapshots(starting), self._snapshots(calling)
        if there is not None:
            return self._has_capacity_on(there, snapshot, fresh, own, free)
        if self._finds_provisioned(snapshot, fresh):
            return True
        places = self.pool.shared.places
        joins = has_place(snapshot, fresh, free + places(snapshot.key))
        instances = self.pool.capacity.here()
        taken = taken_by(instances, started_by(fresh, lambda key: places(key) + free * (key == snapshot.key)))
        return has_capacity(snapshot, [*own, *fresh], taken, self.caps, joins=joins)

    def _has_ample_capacity(
        self, snapshot: Snapshot, calling: Mapping[Target, int], starting: Mapping[Target, int]
    ) -> bool:
        """True for most calls, which then cost little; False if it takes a closer look."""
        capacity = self.pool.capacity
        calls, memory_mb = len(capacity.here()), capacity.memory_here_mb
        for targets in (calling, starting):
            for target, count in targets.items():
                try:
                    found = self._resolver.resolve(target)
                except CallerError:
                    continue
                calls += count
                memory_mb += count * found.limits.memory_mb
        return has_ample_capacity(snapshot, calls, memory_mb, self.caps)

    def _finds_provisioned(self, snapshot: Snapshot, fresh: list[Snapshot]) -> bool:
        """Whether provisioned instances of this process have a place for one more call besides the `fresh` ones."""
        return sum(each.key == snapshot.key for each in fresh) < self.pool.provisioned_places(snapshot)

    def _has_capacity_on(
        self, there: OnMachine, snapshot: Snapshot, fresh: list[Snapshot], own: list[Snapshot], free: int
    ) -> bool:
        """For one of several machines: a function's caps apply across all of them, the memory cap to this one."""
        capacity = self.pool.capacity
        caps = capacity.caps_of(there.machine)
        if caps is None:
            return False
        fresh_there, own_there = self._snapshots(there.starting), self._snapshots(there.calling)
        if not there.machine:
            if self._finds_provisioned(snapshot, fresh_there):
                return True
            free += self.pool.shared.places(snapshot.key)
        joins = has_place(snapshot, fresh_there, free)
        everywhere = taken_by(capacity.instances(), started_by(fresh))
        taken_there = taken_by(capacity.on(there.machine), started_by(fresh_there))
        return function_has_capacity(
            snapshot, [*own, *fresh], everywhere, self.caps, joins=joins
        ) and machine_has_capacity(snapshot, [*own_there, *fresh_there], taken_there, caps.memory_mb, joins=joins)

    def _snapshots(self, targets: Mapping[Target, int]) -> list[Snapshot]:
        found: list[Snapshot] = []
        for target, count in targets.items():
            try:
                found += [self._resolver.resolve(target)] * count
            except CallerError:
                continue
        return found

    async def instances(self, service: str, function: str) -> list[InstanceInfo]:
        return [
            InstanceInfo(
                instance.instance_id,
                service,
                function,
                instance.snapshot.version_id,
                instance.created_at,
                instance.provisioned_for is not None,
            )
            for instance in self.pool.instances()
            if instance.snapshot.service == service
            and instance.snapshot.function == function
            and instance.state is not State.DEAD
        ]

    @asynccontextmanager
    async def exec(self, instance: InstanceInfo, command: Command) -> AsyncIterator[RunningCommand]:
        running = self.pool.instance(instance.instance_id)
        if running is None:
            raise NotFound(INSTANCE, instance.instance_id, (instance.service, instance.function))
        async with running.exec(command) as execution:
            yield RunningCommand(execution, lambda: running.state is State.DEAD)

    async def provisioned_of(self, target: Target) -> Provisioned:
        return self.provisioned.status(target)

    async def abort(self, service: str, function: str) -> None:
        if self._hear_others is not None:
            await self._hear_others()
        for instance in self.pool.instances():
            if (instance.snapshot.service, instance.snapshot.function) == (service, function):
                instance.abort()

    async def drain(self, patience_s: float) -> None:
        await self.provisioned.close()
        if self.prewarming is not None:
            await self.prewarming.close()
        await self.pool.close(patience_s)


def _observed(sink: LogSink, also: LogSink | None) -> LogSink:
    """Returns `sink` itself if there is no observer, so that logging pays for no extra function call."""
    if also is None:
        return sink
    observe = also

    def both(source: LogSource, request_id: str, data: bytes, more: bool) -> None:
        sink(source, request_id, data, more)
        observe(source, request_id, data, more)

    return both
