"""Debugging of functions: which instances have a debugger, and how to connect to it.

Built by `_engine` only for `sesame dev` and `sesame invoke`; no other server can debug. docs/debug.md describes what
users see.
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

# How long to wait for a person to attach a debugger; Ctrl-C ends the waiting command.
WAIT_S = 86400.0
_SUFFIX = " debug"


class DebugSnapshots:
    """`Snapshots` that gives debugged functions the layer with their debugger, and a single instance."""

    def __init__(self, inner: Snapshots) -> None:
        self._inner = inner
        # The SHA-256 of the debugger's layer, by service and function.
        self._layers: dict[tuple[str, str], str] = {}
        # How often `debug` was called; part of `changes`.
        self._debugged = 0

    @property
    def changes(self) -> int:
        return self._inner.changes + self._debugged

    def debug(self, target: Target, layer: str) -> None:
        """From now on calls of the function go to an instance with a debugger. Only LATEST is debugged."""
        self._layers[target.service, target.function] = layer
        self._debugged += 1

    def resolve(self, target: Target, session_id: str = "") -> Snapshot:
        snapshot = self._inner.resolve(target, session_id)
        layer = self._layers.get((snapshot.service, snapshot.function))
        return snapshot if layer is None or snapshot.version_id != target.qualifier else with_debugger(snapshot, layer)

    def shares(self, target: Target) -> tuple[tuple[Snapshot, float], ...]:
        """Empty for a debugged function: its only instance is started by a call, never provisioned."""
        debugged = (target.service, target.function) in self._layers
        return () if debugged else self._inner.shares(target)

    def is_current(self, target: Target, key: str) -> bool:
        debugged = (target.service, target.function) in self._layers
        return debugged == key.endswith(_SUFFIX) and self._inner.is_current(target, key.removesuffix(_SUFFIX))

    def on_change(self, callback: Callable[[], None]) -> None:
        self._inner.on_change(callback)


def with_debugger(snapshot: Snapshot, layer: str) -> Snapshot:
    """Adds the debugger to a snapshot and limits it to one instance, as one debugger stops one process."""
    return msgspec.structs.replace(
        snapshot,
        key=snapshot.key + _SUFFIX,
        layers=(layer, *snapshot.layers),
        limits=msgspec.structs.replace(snapshot.limits, instances=1),
        debug=True,
    )


class Debugging:
    """Gives access to the debuggers of one engine's instances."""

    def __init__(self, snapshots: DebugSnapshots, pool: Pool) -> None:
        self._snapshots = snapshots
        self._pool = pool

    def debug(self, target: Target, layer: str) -> None:
        self._snapshots.debug(target, layer)

    async def start(self, target: Target) -> Debugger:
        """Returns where the debugger of the function's instance listens; starts an instance if there is none.

        Raises the errors of a call that cannot be started.
        """
        return _debugger_of(await self._instance(target))

    @asynccontextmanager
    async def connect(self, target: Target) -> AsyncIterator[Execution]:
        """Opens a stream to the debugger of the function's instance. While it is open, calls have no time limit."""
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
        """Returns once a debugger has attached to the function's instance and set its breakpoints."""
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
