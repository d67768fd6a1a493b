"""Functions that are debugged: which instances have a debugger, and the way to it.

Built by `_engine` where `sesame dev` or `sesame invoke` asks for it, and nowhere else: no server that was started
otherwise has any of this. docs/debug.md tells what users see.
"""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import msgspec

from sesame.engine.instance import Debugger, Instance, State
from sesame.engine.pool import Pool
from sesame.engine.resolver import Snapshots
from sesame.model.command import Command, Execution
from sesame.model.errors import NotStarted
from sesame.model.invocation import Target
from sesame.model.snapshot import Snapshot

# For a person who attaches a debugger; the command that waits ends with Ctrl-C.
WAIT_S = 86400.0
_SUFFIX = " debug"


class DebugSnapshots:
    """`Snapshots` in which functions that are debugged have the layer of their debugger, and one instance."""

    def __init__(self, inner: Snapshots) -> None:
        self._inner = inner
        # The sha256 of the layer by service and function.
        self._layers: dict[tuple[str, str], str] = {}
        # How often a function was to be debugged from then on.
        self._debugged = 0

    @property
    def changes(self) -> int:
        return self._inner.changes + self._debugged

    def debug(self, target: Target, layer: str) -> None:
        """From here on the function's calls go to an instance with a debugger. Only LATEST is debugged."""
        self._layers[target.service, target.function] = layer
        self._debugged += 1

    def resolve(self, target: Target, session_id: str = "") -> Snapshot:
        snapshot = self._inner.resolve(target, session_id)
        layer = self._layers.get((snapshot.service, snapshot.function))
        return snapshot if layer is None or snapshot.version_id != target.qualifier else with_debugger(snapshot, layer)

    def shares(self, target: Target) -> tuple[tuple[Snapshot, float], ...]:
        """None of a function that is debugged: its one instance is started by a call."""
        debugged = (target.service, target.function) in self._layers
        return () if debugged else self._inner.shares(target)

    def is_current(self, target: Target, key: str) -> bool:
        debugged = (target.service, target.function) in self._layers
        return debugged == key.endswith(_SUFFIX) and self._inner.is_current(target, key.removesuffix(_SUFFIX))

    def on_change(self, callback: Callable[[], None]) -> None:
        self._inner.on_change(callback)


def with_debugger(snapshot: Snapshot, layer: str) -> Snapshot:
    """The snapshot with a debugger, and for one call at a time: there is one debugger to stop it."""
    return msgspec.structs.replace(
        snapshot,
        key=snapshot.key + _SUFFIX,
        layers=(layer, *snapshot.layers),
        limits=msgspec.structs.replace(snapshot.limits, instances=1),
        debug=True,
    )


class Debugging:
    """The way to the debuggers of one engine's instances."""

    def __init__(self, snapshots: DebugSnapshots, pool: Pool) -> None:
        self._snapshots = snapshots
        self._pool = pool

    def debug(self, target: Target, layer: str) -> None:
        self._snapshots.debug(target, layer)

    async def start(self, target: Target) -> Debugger:
        """Where the debugger of the function's instance listens; starts an instance where there is none.

        Raises what a call raises that cannot be started.
        """
        return _debugger_of(await self._instance(target))

    @asynccontextmanager
    async def connect(self, target: Target) -> AsyncIterator[Execution]:
        """A stream to the debugger of the function's instance. Meanwhile no call to it takes too long."""
        instance = await self._instance(target)
        debugger = _debugger_of(instance)
        command = Command((debugger.python, "-E", "-S", debugger.relay, str(debugger.port)))
        async with instance.exec(command) as execution:
            instance.suspend_limits(suspended=True)
            try:
                yield execution
            finally:
                instance.suspend_limits(suspended=False)

    async def wait_for_client(self, target: Target) -> None:
        """Returns once a debugger is attached to the function's instance and has set its breakpoints."""
        async with self._pool.lease(self._snapshots.resolve(target)) as lease:
            if lease.instance.state is State.STARTING:
                lease.instance.move(State.BUSY)
            await lease.instance.call("debug_wait", "", {}, b"", WAIT_S)

    async def _instance(self, target: Target) -> Instance:
        snapshot = self._snapshots.resolve(target)
        for instance in self._pool.instances():
            alive = instance.state is not State.DEAD and instance.debugger is not None
            if alive and instance.snapshot.key == snapshot.key:
                return instance
        async with self._pool.lease(snapshot) as lease:
            if lease.instance.state is State.STARTING:
                lease.instance.move(State.BUSY)
            return lease.instance


def _debugger_of(instance: Instance) -> Debugger:
    if instance.debugger is None:
        raise NotStarted("the instance has no debugger: its function is not debugged")
    return instance.debugger
