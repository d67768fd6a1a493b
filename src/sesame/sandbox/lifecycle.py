"""The life of one sandbox as a table of legal moves, shared by all drivers.

Owned by `process.driver.PlainSandbox` and `jail.instance.JailSandbox`, which implement the ending of their processes.
"""

import asyncio
import enum
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import Any

from sesame.sandbox.interface import Death, OnDeath, OnOutput, Reply, SandboxDied, SandboxSpec
from sesame.sandbox.web.setup import WEB_SERVER_START_S

START_TIMEOUT_S = 30.0
# How long a result may still be read after the death of the process that sent it was reported.
RESULT_GRACE_S = 0.05
# How long after its socket has closed to wait for a starting process to exit, in order to report how it ended.
START_EXIT_GRACE_S = 0.5
# How many of the last bytes that a process writes before it is ready are kept, to explain a failed start.
START_OUTPUT_BYTES = 8 * 1024
# A death caused from outside, by neither the function nor the driver.
KILLED_FROM_OUTSIDE = "killed by SIGKILL"


def start_timeout_s(spec: SandboxSpec) -> float:
    """The time limit of an instance's start. The monitor of a web server enforces that server's own limit."""
    return START_TIMEOUT_S + (0.0 if spec.web_server is None else WEB_SERVER_START_S)


class State(enum.StrEnum):
    STARTING = "starting"
    READY = "ready"
    CALLING = "calling"
    FROZEN = "frozen"
    SPOILED = "spoiled"
    """A call was cancelled, so a late answer may arrive: the sandbox can only be killed."""
    ENDING = "ending"
    ENDED = "ended"


LEGAL_MOVES: Mapping[State, frozenset[State]] = {
    State.STARTING: frozenset({State.READY, State.ENDING}),
    State.READY: frozenset({State.CALLING, State.FROZEN, State.ENDING}),
    State.CALLING: frozenset({State.READY, State.SPOILED, State.ENDING}),
    State.FROZEN: frozenset({State.READY, State.ENDING}),
    State.SPOILED: frozenset({State.ENDING}),
    State.ENDING: frozenset({State.ENDED}),
    State.ENDED: frozenset(),
}
# Module-level names for the hot path: looking up an enum member costs as much as a call in CPython 3.11.
_READY, _CALLING = State.READY, State.CALLING

# Ends every process and frees their resources. Takes the first cause; returns it, or a more precise one.
End = Callable[[SandboxDied], Awaitable[SandboxDied]]


class Lifecycle:
    """`end` is called once, whatever ends the sandbox first; `on_death` at most once, for a death between two calls.

    `after_call`, if given, is called after each answer and returns a cause if the sandbox must end nevertheless.
    A `concurrent` sandbox takes several calls at a time, and cancelling one of them does not spoil it.
    """

    def __init__(
        self,
        end: End,
        on_death: OnDeath,
        after_call: Callable[[], SandboxDied | None] | None = None,
        *,
        concurrent: bool = False,
    ) -> None:
        self.state = State.STARTING
        self._concurrent = concurrent
        self._calls = 0
        self._end = end
        self._after_call = after_call
        self._on_death = on_death
        # What ended the sandbox; final once it has ENDED, None while it lives.
        self.death: SandboxDied | None = None
        self.living = True
        self._ending: asyncio.Task[None] | None = None
        # Whether it was frozen, or idle, when it began to end.
        self.ended_frozen = False
        self.ended_idle = False
        # Set if the socket to the shim closed during a call that had already been answered.
        self._stream_gone = False
        self._at_end: list[Callable[[], object]] = []

    def move(self, to: State) -> None:
        assert to in LEGAL_MOVES[self.state], f"illegal move of a sandbox: {self.state.value} → {to.value}"
        self.state = to

    async def run_call(self, answer: Coroutine[Any, Any, Reply]) -> Reply:
        """Awaits the answer to a call. Raises the final `SandboxDied` once nothing of the sandbox is left."""
        if self.state is not _READY and not (self._concurrent and self.state is _CALLING):
            answer.close()
            raise await self.end(SandboxDied(Death.EXIT, "the instance has ended"))
        self.state = _CALLING
        self._calls += 1
        after = _READY
        try:
            reply = await answer
        except SandboxDied as died:
            raise await self.end(died) from None
        except BaseException:
            # Cancelled. The sandbox may have begun to end at the same moment.
            if not self._concurrent:
                after = State.SPOILED
            raise
        finally:
            self._calls -= 1
            if self.state is _CALLING and not self._calls:
                self.state = after
        if self._after_call is not None and (cause := self._after_call()) is not None:
            raise await self.end(cause)
        if self._stream_gone:
            # The caller gets its answer first; no further call must find a dead process.
            self.stream_ended()
        return reply

    def on_end(self, callback: Callable[[], object]) -> None:
        """Calls back once nothing of the sandbox is left; immediately if that is already so."""
        if self.state is State.ENDED:
            callback()
        else:
            self._at_end.append(callback)

    def begin_end(self, cause: SandboxDied) -> None:
        """Starts ending the sandbox in a separate task. Only the first cause counts."""
        if self._ending is None:
            self.death, self.living = cause, False
            self.ended_frozen = self.state is State.FROZEN
            self.move(State.ENDING)
            self._ending = asyncio.get_running_loop().create_task(self._run_end(cause))

    async def end(self, cause: SandboxDied) -> SandboxDied:
        """Ends the sandbox and returns the final cause. Cancelling the caller does not interrupt the end."""
        self.begin_end(cause)
        assert self._ending is not None
        await asyncio.shield(self._ending)
        assert self.death is not None
        return self.death

    def process_ended(self, give_up: Callable[[], None]) -> None:
        """Called by the driver when the process has ended by itself.

        Between two calls this ends the sandbox. During a call or the start, the socket usually closes too, once the
        rest has been read. If it does not within `RESULT_GRACE_S`, because a child forked by the function holds its
        other end open, `give_up` is called.
        """
        if self.state in (State.STARTING, State.CALLING):
            asyncio.get_running_loop().call_later(RESULT_GRACE_S, give_up)
        else:
            self.stream_ended()

    def stream_ended(self) -> None:
        """The socket to the shim has closed, which ends the sandbox between two calls.

        During a call the call itself reports it, unless it has been answered: its answer is then passed on first.
        """
        self._stream_gone = True
        if self.state in (State.READY, State.FROZEN):
            self.ended_idle = True
            self.begin_end(SandboxDied(Death.EXIT))
            self._on_death()

    def lost(self, cause: SandboxDied) -> None:
        """Called by the driver to end the sandbox in any state."""
        if self._ending is None:
            self.ended_idle = self.state in (State.READY, State.FROZEN)
            self.begin_end(cause)
            if self.ended_idle:
                self._on_death()

    async def _run_end(self, cause: SandboxDied) -> None:
        self.death = await self._end(cause)
        self.move(State.ENDED)
        callbacks, self._at_end = self._at_end, []
        for callback in callbacks:
            callback()


class StartOutput:
    """Passes a process's output on, and keeps the last of it until `ready`."""

    def __init__(self, on_output: OnOutput) -> None:
        self._on_output = on_output
        self._kept: bytearray | None = bytearray()

    def __call__(self, data: bytes) -> None:
        if self._kept is not None:
            self._kept += data
            del self._kept[:-START_OUTPUT_BYTES]
        self._on_output(data)

    def ready(self) -> None:
        self._kept = None

    def text(self) -> str:
        return (self._kept or b"").decode("utf-8", "replace").strip()
