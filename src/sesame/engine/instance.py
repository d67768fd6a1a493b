"""One instance of a function: its life as a table of legal moves, and the calls that it serves.

Made by `engine.pool`, started by `engine.startup`, called by `engine.steps`. Time and memory are the host's counts,
never what the instance's process says.
"""

import asyncio
import enum
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import msgspec

from sesame.engine.deadline import Deadline
from sesame.engine.invocation_log import InvocationLog, LogSink, LogSource, drop
from sesame.model.clocks import Clocks
from sesame.model.command import Command, Execution
from sesame.model.errors import INSTANCE, Exhausted, NotFound, PlatformError
from sesame.model.invocation import Target
from sesame.model.snapshot import Snapshot
from sesame.model.stream import Stream
from sesame.model.usage import Usage
from sesame.sandbox.interface import (
    NO_ANSWER_IN_TIME,
    Call,
    KillReason,
    Reply,
    Sandbox,
    SandboxDied,
    SandboxStartFailed,
)

T = TypeVar("T")

COMMANDS_MAX = 16


class State(enum.StrEnum):
    STARTING = "starting"
    INITIALIZING = "initializing"
    BUSY = "busy"
    IDLE = "idle"
    DEAD = "dead"


LEGAL_MOVES: Mapping[State, frozenset[State]] = {
    State.STARTING: frozenset({State.INITIALIZING, State.BUSY, State.DEAD}),
    State.INITIALIZING: frozenset({State.BUSY, State.DEAD}),
    # Of an instance that was started ahead of its first call, the initializer runs with that call.
    State.BUSY: frozenset({State.IDLE, State.INITIALIZING, State.DEAD}),
    State.IDLE: frozenset({State.BUSY, State.DEAD}),
    State.DEAD: frozenset(),
}
# What every call names: to look a member of an enumeration up costs as much as a call in CPython 3.11.
DEAD, BUSY, IDLE = State.DEAD, State.BUSY, State.IDLE


class CallFailed(msgspec.Struct, frozen=True):
    """The process did not answer. `reason` is timeout or one of `sandbox.interface.Death`."""

    reason: str
    detail: str


_ENDED_BETWEEN = CallFailed("killed", "ended between two steps of its call")


class Debugger(msgspec.Struct, frozen=True):
    """Where debugpy listens inside an instance: as the shim said before any code of the function was loaded.

    `relay` is the program that a command runs to reach it, by `python`; `code` is where the function's code lies.
    """

    port: int
    python: str
    relay: str
    code: str


class Instance:
    """Owned by the call that made it BUSY, and by the pool while it is IDLE."""

    def __init__(self, snapshot: Snapshot, instance_id: str, sink: LogSink, clocks: Clocks) -> None:
        self.snapshot = snapshot
        self.instance_id = instance_id
        self.state = State.STARTING
        # Which of several machines it runs on, as `engine.capacity` counts them; 0: this one.
        self.machine = 0
        # Whether another agent has it, which alone knows whether it is idle in this moment.
        self.elsewhere = False
        # The instance that starts in its place, once nothing of this one is left.
        self.leaves_for: Instance | None = None
        self.initialized = not (snapshot.launch.initializer or snapshot.launch.initializer_command)
        # Unix seconds.
        self.created_at = clocks.wall()
        self.idle_since = 0.0
        self.frozen = False
        self.debugger: Debugger | None = None
        # While a debugger is attached, no call takes too long.
        self._limits_suspended = False
        # Whether it may serve several calls at a time.
        self.shared = snapshot.limits.concurrency > 1
        # Whether it may serve after a call: a program that is run for each event has an instance for each, too.
        self.serves_on = snapshot.launch.web_server is None or snapshot.launch.web_server.listens
        # A call on it took too long while it may serve others: it takes no more, and ends with the last of them.
        self.spent = False
        # Calls in flight: more than none exactly while the instance is STARTING, INITIALIZING or BUSY for a call.
        self.calls = 0
        # Commands that run beside the function. While there is one, the instance is neither frozen nor expired.
        self.commands = 0
        # It is being asked how it is, and must not be frozen meanwhile.
        self.checked = False
        # The sessions that are bound to it, by parent and id, and whether one ever was.
        self.sessions: set[tuple[str, str]] = set()
        self.had_session = False
        # For whose configuration it is provisioned; None for an instance that a call started.
        self.provisioned_for: Target | None = None
        # Since when it has been ready, if it is provisioned.
        self.ready_at: float | None = None
        # A provisioned instance with `alwaysAllocateCPU` is not frozen.
        self.runs_idle = False
        # The catalog's change number at which this instance was last found to be current.
        self.current_after = -1
        self._clocks = clocks
        self._sink = sink = drop if snapshot.trial else sink
        self._source = LogSource(
            service=snapshot.service,
            function=snapshot.function,
            version_id=snapshot.version_id,
            instance_id=instance_id,
            log_project=snapshot.log_target.project,
            logstore=snapshot.log_target.logstore,
        )
        # Output between two calls belongs to the call before; output of the start has no request id.
        self._log = InvocationLog(self._source, "", sink)
        self._sandbox: Sandbox | None = None
        # Each call in flight has a deadline. Those that were lifted are kept, with their timers, for the next calls.
        self._deadlines: list[Deadline] = []
        self._free_deadlines: list[Deadline] = []
        # Of one call after the other, where it serves one at a time; made with the first.
        self._own_deadline: Deadline | None = None
        self._killing: asyncio.Task[None] | None = None

    def move(self, to: State) -> None:
        assert to in LEGAL_MOVES[self.state], f"illegal move of an instance: {self.state.value} → {to.value}"
        self.state = to

    def started(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox

    @property
    def death(self) -> SandboxDied | None:
        """What ended the instance's sandbox; None while it lives and for an instance that never had one."""
        return self._sandbox.death if self._sandbox is not None else None

    def begin_log(self, request_id: str, qualifier: str = "") -> InvocationLog:
        """The log of a new call, which gets the function's output from here on."""
        if qualifier != self._source.qualifier:
            self._source = msgspec.structs.replace(self._source, qualifier=qualifier)
        log = InvocationLog(self._source, request_id, self._sink)
        if not self.shared:
            # Of several calls at a time nobody knows which one wrote: that output has no request id.
            self._log = log
        return log

    def write_output(self, data: bytes) -> None:
        """Takes what the function wrote to stdout or stderr."""
        self._log.write(data)

    def memory_mb(self) -> float:
        return self._sandbox.memory_peak_mb() if self._sandbox is not None else 0.0

    async def usage(self) -> Usage | None:
        """What its processes use now; None before they run and once they have ended."""
        return await self._sandbox.usage() if self._sandbox is not None else None

    def phases(self) -> Mapping[str, float]:
        """Milliseconds of each phase of the start."""
        return self._sandbox.phases if self._sandbox is not None else {}

    def call(
        self, kind: str, request_id: str, meta: Mapping[str, Any], payload: bytes | Stream, timeout_s: float
    ) -> Coroutine[Any, Any, Reply | CallFailed]:
        """One request and its reply, or why there is none; after a `CallFailed` the caller must end the instance."""
        if isinstance(payload, bytes):
            call = Call(kind, request_id, meta, payload)
        else:
            call = Call(kind, request_id, meta, stream=payload)
        return self._call_beside_others(call, timeout_s) if self.shared else self._call_alone(call, timeout_s)

    async def _call_alone(self, call: Call, timeout_s: float) -> Reply | CallFailed:
        sandbox = self._sandbox
        assert sandbox is not None
        if self.state is DEAD:
            return _ENDED_BETWEEN
        deadline = self._own_deadline
        if deadline is None:
            deadline = self._own_deadline = Deadline(self._clocks, self._kill_for_timeout)
            self._deadlines.append(deadline)
        if not self._limits_suspended:
            deadline.set(timeout_s)
        try:
            reply = await sandbox.call(call)
        except SandboxDied as death:
            return CallFailed("timeout" if deadline.passed else death.reason, str(death))
        finally:
            deadline.lift()
        if deadline.passed:
            # The answer came in the moment of the deadline, and the process is being killed already.
            return CallFailed("timeout", f"answered after {timeout_s:g} s")
        return reply

    async def _call_beside_others(self, call: Call, timeout_s: float) -> Reply | CallFailed:
        """POLICY: a call that takes too long is given up alone; the others may end in peace, each in its own time."""
        sandbox = self._sandbox
        assert sandbox is not None
        if self.state is State.DEAD:
            return _ENDED_BETWEEN
        try:
            return await self._in_time(sandbox.call(call), timeout_s)
        except SandboxDied as death:
            return CallFailed(death.reason, str(death))
        except TimeoutError as error:
            self.spent = True
            return CallFailed("timeout", str(error))

    async def _in_time(self, work: Awaitable[T], timeout_s: float) -> T:
        """Raises `TimeoutError` when it takes longer; the work has been cancelled then. Awaited by a task."""
        task = asyncio.current_task()
        assert task is not None
        cancelled_before = task.cancelling()
        deadline = self._deadline(task.cancel, timeout_s)
        try:
            return await work
        except asyncio.CancelledError:
            # Whoever else cancelled the task is obeyed first.
            if deadline.passed and task.cancelling() == cancelled_before + 1:
                raise TimeoutError(f"took longer than {timeout_s:g} s") from None
            raise
        finally:
            if deadline.passed:
                task.uncancel()
            self._lift(deadline)

    async def run(self, argv: tuple[str, ...], timeout_s: float) -> Reply | CallFailed:
        """Runs a command beside the function to its end; what it writes is in the function's log.

        It has failed where its exit code is not 0. After a `CallFailed` the caller must end the instance, as after
        that of `call`. Raises as `exec`, but for an instance that has ended.
        """
        try:
            code = await self._in_time(self._run(argv), timeout_s)
        except NotFound:
            return CallFailed("killed", "the instance has ended")
        except TimeoutError as error:
            return CallFailed("timeout", str(error))
        if code == 0:
            return Reply(True, b"")
        text = f"the command '{' '.join(argv)}' ended with exit code {code}; the function's log has what it wrote"
        return Reply(False, msgspec.json.encode({"errorMessage": text, "errorType": "CommandFailed"}))

    async def _run(self, argv: tuple[str, ...]) -> int:
        async with self.exec(Command(argv, stdin=False)) as execution:
            while (piece := await execution.read()) is not None:
                self.write_output(piece[1])
            return await execution.wait()

    async def is_well(self) -> bool | None:
        """Whether its web server answers the function's health check; None: not in time. Raises `SandboxDied`."""
        assert self._sandbox is not None
        reply = await self._sandbox.call(Call("health_check", "", {}))
        return None if reply == NO_ANSWER_IN_TIME else reply.ok

    def suspend_limits(self, *, suspended: bool) -> None:
        """Lifts the deadlines of the calls in flight and of every call until this is taken back."""
        self._limits_suspended = suspended
        for deadline in self._deadlines if suspended else ():
            deadline.lift()

    @asynccontextmanager
    async def exec(self, command: Command) -> AsyncIterator[Execution]:
        """Runs a command beside the function, which may be busy. What is left of the command ends with this context.

        Raises `NotFound` for an instance that has ended or is still starting, `Exhausted` when
        `COMMANDS_MAX` commands run in it, `PlatformError` when the command could not be started.
        """
        if self._sandbox is None or self.state is State.DEAD:
            raise self._not_found()
        if self.commands >= COMMANDS_MAX:
            raise Exhausted(f"{COMMANDS_MAX} commands run in instance '{self.instance_id}' already")
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

    async def kill(self, reason: KillReason) -> None:
        """On return no process of the instance is left; idempotent."""
        if self.state is not State.DEAD:
            self.move(State.DEAD)
        for deadline in self._deadlines:
            deadline.close()
        if self._killing is not None:
            await self._killing
        if self._sandbox is not None:
            await self._sandbox.kill(reason)

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

    def _deadline(self, on_passed: Callable[[], object], limit_s: float) -> Deadline:
        """Of a call, until `_lift`."""
        if self._free_deadlines:
            deadline = self._free_deadlines.pop()
            deadline.on_passed = on_passed
        else:
            deadline = Deadline(self._clocks, on_passed)
            self._deadlines.append(deadline)
        if not self._limits_suspended:
            deadline.set(limit_s)
        return deadline

    def _lift(self, deadline: Deadline) -> None:
        deadline.lift()
        if deadline.passed:
            deadline.close()
            self._deadlines.remove(deadline)
        else:
            self._free_deadlines.append(deadline)

    def abort(self) -> None:
        """Has the calls that run on it fail, as where its process has died; who leased it ends it then."""
        if self.state in (State.BUSY, State.INITIALIZING) and self._killing is None:
            self._kill(KillReason.ABORTED)

    def _kill_for_timeout(self) -> None:
        self._kill(KillReason.TIMEOUT)

    def _kill(self, reason: KillReason) -> None:
        assert self._sandbox is not None
        self._killing = asyncio.get_running_loop().create_task(self._sandbox.kill(reason))

    def _not_found(self) -> NotFound:
        return NotFound(INSTANCE, self.instance_id, (self.snapshot.service, self.snapshot.function))
