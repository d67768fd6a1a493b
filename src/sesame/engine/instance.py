"""One instance of a function: its life as a table of legal moves, and one call at a time.

Born in `engine.pool`, called by `engine.dispatcher`. Ends for good at the first thing that goes wrong.
Never knows what other instances exist, and never trusts its process for time or memory.
"""

import asyncio
import enum
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import structlog

from sesame.engine.deadline import Deadline
from sesame.engine.invocation_log import Journal
from sesame.model.clocks import Clocks
from sesame.model.errors import InstanceNotFound, PlatformError, ResourceExhausted
from sesame.model.invocation import Snapshot
from sesame.sandbox.interface import Call, Command, Execution, Reply, Sandbox, SandboxDied, SandboxStartFailed

COMMANDS_MAX = 16

log = structlog.get_logger(__name__)


class State(enum.StrEnum):
    STARTING = "starting"
    INITIALIZING = "initializing"
    BUSY = "busy"
    IDLE = "idle"
    DEAD = "dead"


LEGAL_MOVES: Mapping[State, frozenset[State]] = {
    State.STARTING: frozenset({State.INITIALIZING, State.BUSY, State.DEAD}),
    State.INITIALIZING: frozenset({State.BUSY, State.DEAD}),
    State.BUSY: frozenset({State.IDLE, State.DEAD}),
    State.IDLE: frozenset({State.BUSY, State.DEAD}),
    State.DEAD: frozenset(),
}


class CallFailed(msgspec.Struct, frozen=True):
    """The process did not answer. `reason` is timeout, or what `SandboxDied` says."""

    reason: str
    detail: str


class Instance:
    """Owned by whoever made it BUSY; the pool owns it while it is IDLE."""

    def __init__(self, snapshot: Snapshot, instance_id: str, journal: Journal, clocks: Clocks) -> None:
        self.snapshot = snapshot
        self.instance_id = instance_id
        self.journal = journal
        self.state = State.STARTING
        self.initialized = not snapshot.function.initializer
        self.idle_since = 0.0
        self.frozen = False
        # The last change of the catalog after which it was found to be what a call would be given.
        self.current_after = -1
        # How many commands run in it: as long as there is one, the instance is neither frozen nor let go.
        self.commands = 0
        self._clocks = clocks
        self._sandbox: Sandbox | None = None
        self._deadline = Deadline(clocks, self._expire)
        self._timed_out = False
        self._killing: asyncio.Task[None] | None = None

    def move(self, to: State) -> None:
        assert to in LEGAL_MOVES[self.state], f"illegal move of an instance: {self.state.value} → {to.value}"
        self.state = to

    def started(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox

    def memory_mb(self) -> float:
        return self._sandbox.memory_peak_mb() if self._sandbox is not None else 0.0

    def phases(self) -> Mapping[str, float]:
        return self._sandbox.phases if self._sandbox is not None else {}

    async def call(
        self, kind: str, request_id: str, meta: Mapping[str, Any], payload: bytes, timeout_s: float
    ) -> Reply | CallFailed:
        """One request and its reply, or why there is none; in the latter case the instance is to be killed."""
        sandbox = self._sandbox
        assert sandbox is not None
        if self.state is State.DEAD:
            return CallFailed("killed", "ended between two steps of its call")
        self._deadline.set(timeout_s)
        try:
            reply = await sandbox.call(Call(kind, request_id, meta, payload))
        except SandboxDied as death:
            return CallFailed("timeout" if self._timed_out else death.reason, str(death))
        finally:
            self._deadline.lift()
        if self._timed_out:
            # The answer came in the moment of the deadline, and the process is on its way out already.
            return CallFailed("timeout", f"answered after {timeout_s:g} s")
        return reply

    @asynccontextmanager
    async def exec(self, command: Command) -> AsyncIterator[Execution]:
        """Runs a command beside the function, which may be busy; what is left of it ends with this context.

        Raises `InstanceNotFound` for an instance that has ended or is still starting, `ResourceExhausted` when too many
        commands run in it, `PlatformError` when the command could not be started.
        """
        if self._sandbox is None or self.state is State.DEAD:
            raise self._not_found()
        if self.commands >= COMMANDS_MAX:
            raise ResourceExhausted(f"{COMMANDS_MAX} commands run in instance '{self.instance_id}' already")
        self.commands += 1
        try:
            self.thaw()
            execution = await self._sandbox.exec(command)
            try:
                yield execution
            finally:
                await asyncio.shield(execution.close())
        except SandboxDied as died:
            raise self._not_found() from died
        except SandboxStartFailed as error:
            raise PlatformError(f"a command was not started: {error}") from error
        finally:
            self.commands -= 1
            self.idle_since = self._clocks.monotonic()

    @property
    def ended(self) -> bool:
        return self.state is State.DEAD

    def _not_found(self) -> InstanceNotFound:
        service, function = self.snapshot.service.service_name, self.snapshot.function.function_name
        return InstanceNotFound(service, function, self.instance_id)

    async def kill(self) -> None:
        """Afterwards no process of it is left; idempotent."""
        if self.state is not State.DEAD:
            self.move(State.DEAD)
        self._deadline.close()
        if self._killing is not None:
            await self._killing
        if self._sandbox is not None:
            await self._sandbox.kill()

    def freeze(self) -> None:
        """Its processes do not run until `thaw`: background threads stop, as in the cloud (runtime.md §10)."""
        assert self.state is State.IDLE
        assert self._sandbox is not None
        self._sandbox.freeze()
        self.frozen = True

    def thaw(self) -> None:
        if self.frozen and self._sandbox is not None:
            self._sandbox.thaw()
            self.frozen = False

    def _expire(self) -> None:
        assert self._sandbox is not None
        self._timed_out = True
        self._killing = asyncio.get_running_loop().create_task(self._sandbox.kill(dump_stacks=True))
