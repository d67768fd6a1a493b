"""One instance of a function: its life as a table of legal moves, and the calls that it serves.

Created by `engine.pool`, started by `engine.startup`, called by `engine.steps`. Time and memory are measured by the
host, never taken from the instance's process.
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
from sesame.model.invocation import Credentials, Target
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
    # An instance started ahead of its first call runs the initializer with that call.
    State.BUSY: frozenset({State.IDLE, State.INITIALIZING, State.DEAD}),
    State.IDLE: frozenset({State.BUSY, State.DEAD}),
    State.DEAD: frozenset(),
}
# Module-level names for the hot path: looking up an enum member costs as much as a call in CPython 3.11.
DEAD, BUSY, IDLE = State.DEAD, State.BUSY, State.IDLE


class CallFailed(msgspec.Struct, frozen=True):
    """The process did not answer. `reason` is "timeout" or a value of `sandbox.interface.Death`."""

    reason: str
    detail: str


_ENDED_BETWEEN = CallFailed("killed", "ended between two steps of its call")


class Debugger(msgspec.Struct, frozen=True):
    """Where debugpy listens inside an instance, as the shim reported before loading any of the function's code.

    `python` runs the program `relay` inside the instance to connect to `port`; `code` is the function's code directory.
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
        # The machine it runs on, numbered as in `engine.capacity`; 0 is this one.
        self.machine = 0
        # Whether it belongs to another agent; only that agent knows whether it is idle.
        self.elsewhere = False
        # The instance that will start in its place once this one has ended.
        self.leaves_for: Instance | None = None
        self.initialized = not (snapshot.launch.initializer or snapshot.launch.initializer_command)
        # Unix seconds.
        self.created_at = clocks.wall()
        self.idle_since = 0.0
        self.frozen = False
        self.debugger: Debugger | None = None
        # Set while a debugger is attached: calls then have no time limit.
        self._limits_suspended = False
        # Whether it may serve several calls at a time.
        self.shared = snapshot.limits.concurrency > 1
        # Whether it can serve another call: a program that runs once per event needs a new instance for each.
        self.serves_on = snapshot.launch.web_server is None or snapshot.launch.web_server.listens
        # Set when a call timed out beside others: the instance takes no more calls, and ends with the last one it
        # serves.
        self.spent = False
        # Calls in flight; non-zero exactly while the instance is STARTING, INITIALIZING or BUSY for a call.
        self.calls = 0
        # Commands running beside the function. While there are any, the instance is neither frozen nor expired.
        self.commands = 0
        # Set during a health check: the instance must not be frozen meanwhile.
        self.checked = False
        # The sessions bound to it, by parent and id, and whether there has ever been one.
        self.sessions: set[tuple[str, str]] = set()
        self.had_session = False
        # The target for which it is provisioned; None if a call started it.
        self.provisioned_for: Target | None = None
        # When it became ready (monotonic seconds), if it is provisioned.
        self.ready_at: float | None = None
        # Set for a provisioned instance with `alwaysAllocateCPU`, which is never frozen.
        self.runs_idle = False
        # The resolver's change number at which this instance was last found to be current.
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
        # Output between two calls is attributed to the earlier one; output of the start has no request id.
        self._log = InvocationLog(self._source, "", sink)
        self._sandbox: Sandbox | None = None
        # Each call in flight has a deadline. Lifted ones are kept with their timers, to be reused by later calls.
        self._deadlines: list[Deadline] = []
        self._free_deadlines: list[Deadline] = []
        # The deadline used by an instance that serves one call at a time; created by its first call.
        self._own_deadline: Deadline | None = None
        self._killing: asyncio.Task[None] | None = None

    def move(self, to: State) -> None:
        assert to in LEGAL_MOVES[self.state], f"illegal move of an instance: {self.state.value} → {to.value}"
        self.state = to

    def started(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox

    @property
    def death(self) -> SandboxDied | None:
        """Why the instance's sandbox died; None while it lives, and for an instance that never had one."""
        return self._sandbox.death if self._sandbox is not None else None

    def begin_log(self, request_id: str, qualifier: str = "") -> InvocationLog:
        """Creates the log of a new call, which receives the function's output from now on."""
        if qualifier != self._source.qualifier:
            self._source = msgspec.structs.replace(self._source, qualifier=qualifier)
        log = InvocationLog(self._source, request_id, self._sink)
        if not self.shared:
            # With several calls at a time the writer is unknown, so the output has no request id.
            self._log = log
        return log

    def write_output(self, data: bytes) -> None:
        """Logs what the function wrote to stdout or stderr."""
        self._log.write(data)

    def memory_mb(self) -> float:
        return self._sandbox.memory_peak_mb() if self._sandbox is not None else 0.0

    async def usage(self) -> Usage | None:
        """What its processes use now; None before they run and after they have ended."""
        return await self._sandbox.usage() if self._sandbox is not None else None

    def phases(self) -> Mapping[str, float]:
        """Milliseconds taken by each phase of the start."""
        return self._sandbox.phases if self._sandbox is not None else {}

    def call(
        self,
        kind: str,
        request_id: str,
        meta: Mapping[str, Any],
        payload: bytes | Stream,
        timeout_s: float,
        keys: Credentials | None = None,
    ) -> Coroutine[Any, Any, Reply | CallFailed]:
        """Sends one request and returns the reply. After a `CallFailed` the caller must end the instance."""
        if isinstance(payload, bytes):
            call = Call(kind, request_id, meta, payload, keys=keys)
        else:
            call = Call(kind, request_id, meta, stream=payload, keys=keys)
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
            # The answer arrived at the moment of the deadline, and the process is already being killed.
            return CallFailed("timeout", f"answered after {timeout_s:g} s")
        return reply

    async def _call_beside_others(self, call: Call, timeout_s: float) -> Reply | CallFailed:
        """POLICY: a call that times out is given up by itself; calls beside it continue until they end."""
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
        """Cancels `work` and raises `TimeoutError` if it takes longer than `timeout_s`. Must run inside a task."""
        task = asyncio.current_task()
        assert task is not None
        cancelled_before = task.cancelling()
        deadline = self._deadline(task.cancel, timeout_s)
        try:
            return await work
        except asyncio.CancelledError:
            # If anyone else has cancelled the task as well, their cancellation takes precedence.
            if deadline.passed and task.cancelling() == cancelled_before + 1:
                raise TimeoutError(f"took longer than {timeout_s:g} s") from None
            raise
        finally:
            if deadline.passed:
                task.uncancel()
            self._lift(deadline)

    async def run(self, argv: tuple[str, ...], timeout_s: float) -> Reply | CallFailed:
        """Runs a command beside the function to its end; its output goes to the function's log.

        The reply is a failure if the exit code is not 0. After a `CallFailed` the caller must end the instance, as
        after `call`. Raises as `exec` does, except for an instance that has ended.
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
        """Whether its web server passes the function's health check; None if it did not answer in time.

        Raises `SandboxDied`.
        """
        assert self._sandbox is not None
        reply = await self._sandbox.call(Call("health_check", "", {}))
        return None if reply == NO_ANSWER_IN_TIME else reply.ok

    def suspend_limits(self, *, suspended: bool) -> None:
        """While suspended, calls in flight and new calls have no deadline."""
        self._limits_suspended = suspended
        for deadline in self._deadlines if suspended else ():
            deadline.lift()

    @asynccontextmanager
    async def exec(self, command: Command) -> AsyncIterator[Execution]:
        """Runs a command beside the function, which may be busy. Leaving the context ends the command.

        Raises `NotFound` for an instance that has ended or is still starting, `Exhausted` if `COMMANDS_MAX` commands
        already run in it, and `PlatformError` if the command could not be started.
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
        """On return no process of the instance is left. Idempotent."""
        if self.state is not State.DEAD:
            self.move(State.DEAD)
        for deadline in self._deadlines:
            deadline.close()
        if self._killing is not None:
            await self._killing
        if self._sandbox is not None:
            await self._sandbox.kill(reason)

    def freeze(self) -> None:
        """Stops its processes, background threads included, until `thaw`, as the cloud does (runtime.md §10)."""
        assert self.state is State.IDLE
        assert self._sandbox is not None
        self._sandbox.freeze()
        self.frozen = True

    def thaw(self) -> None:
        if self.frozen and self._sandbox is not None:
            self._sandbox.thaw()
            self.frozen = False

    def _deadline(self, on_passed: Callable[[], object], limit_s: float) -> Deadline:
        """A deadline for one call, until `_lift`."""
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
        """Makes the running calls fail as if the process had died; the holder of the lease then ends the instance."""
        if self.state in (State.BUSY, State.INITIALIZING) and self._killing is None:
            self._kill(KillReason.ABORTED)

    def _kill_for_timeout(self) -> None:
        self._kill(KillReason.TIMEOUT)

    def _kill(self, reason: KillReason) -> None:
        assert self._sandbox is not None
        self._killing = asyncio.get_running_loop().create_task(self._sandbox.kill(reason))

    def _not_found(self) -> NotFound:
        return NotFound(INSTANCE, self.instance_id, (self.snapshot.service, self.snapshot.function))
