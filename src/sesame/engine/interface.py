"""The engine as endpoints see it: call a function, list its instances, run a command in one, drain.

Implemented by `engine.running.LocalEngine` in this process. Nothing here refers to the machine that runs an instance,
so an engine that forwards calls to other agents can replace it.
"""

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from typing import Protocol, TypeVarTuple

import msgspec

from sesame.engine.invocation_log import LogSink
from sesame.model.command import Command, Execution
from sesame.model.errors import CallerError
from sesame.model.invocation import Credentials, Invocation, Outcome, Target
from sesame.model.session import SessionKey
from sesame.model.session_affinity import SessionAffinity
from sesame.model.snapshot import Snapshot

Told = TypeVarTuple("Told")
# The type of `Engine.invoke`.
Invoke = Callable[..., Awaitable[Outcome]]


class InstanceInfo(msgspec.Struct, frozen=True):
    """A running instance, with its function and the version it was made from (LATEST or a number).

    `created_at` is in Unix seconds.
    """

    instance_id: str
    service: str
    function: str
    version_id: str
    created_at: float = 0.0
    provisioned: bool = False


class RunningCommand(msgspec.Struct, frozen=True):
    """A command in an instance. `instance_ended()` tells whether the instance has ended, not just the command."""

    execution: Execution
    instance_ended: Callable[[], bool]


class Provisioned(msgspec.Struct, frozen=True):
    """How many instances a configuration wants and how many are ready; `error` is why starts failed, if they did."""

    target: int
    current: int
    error: str = ""


class Observer(msgspec.Struct, frozen=True):
    """Callbacks of an observer. Called on the engine's event loop during the call: must return at once and not raise.

    `ended` receives each call, including asynchronous attempts, with its outcome or the exception raised instead.
    `refused` receives calls that were refused before their events were read. `wrote` receives the output of functions
    and the platform's own log lines, like a log sink.
    """

    ended: Callable[[Invocation, Outcome | BaseException], None] | None = None
    refused: Callable[[Target, CallerError], None] | None = None
    wrote: LogSink | None = None


def together(first: Observer, second: Observer) -> Observer:
    """Combines two observers; `first` is called first."""
    return Observer(
        ended=_both(first.ended, second.ended),
        refused=_both(first.refused, second.refused),
        wrote=_both(first.wrote, second.wrote),
    )


def _both(
    first: Callable[[*Told], None] | None, second: Callable[[*Told], None] | None
) -> Callable[[*Told], None] | None:
    if first is None or second is None:
        return first or second
    one, other = first, second

    def tell(*told: *Told) -> None:
        one(*told)
        other(*told)

    return tell


class Trial(msgspec.Struct, frozen=True):
    """How a call ended, and the credentials it was given, which must not be shown to users."""

    outcome: Outcome
    credentials: Credentials


class Trials(Protocol):
    async def run(self, snapshot: Snapshot, invocation: Invocation) -> Trial:
        """Runs one call of a snapshot on a new instance, which is ended afterwards. Raises as `Engine.invoke` does."""


class Destined(msgspec.Struct, frozen=True):
    """The version that a call will run, and whether it accepts a stream. One draw decides if the alias splits traffic.

    Pass `version` on as `Invocation.version`. If `streams`, the request can be passed as `Invocation.stream` while it
    arrives.
    """

    version: str
    streams: bool


class Engine(Protocol):
    def invoke(self, invocation: Invocation) -> Awaitable[Outcome]:
        """Runs one call to its end. The outcome says whether the function succeeded.

        Raises the API's errors if the function cannot be called (not found, not startable, over a cap), and
        `PlatformError` for a failure of this server. Cancelling the call ends the instance it runs on.
        """

    def destined(self, target: Target, session_id: str = "") -> Destined:
        """Decides which version a call to `target` will run. Raises as `invoke` does."""

    def affinity(self, target: Target) -> SessionAffinity | None:
        """How calls of the function name their session; None without affinity, or if the function cannot be called."""

    def session_instance(self, parent: str, session_id: str) -> str:
        """The id of the instance that serves the session; "" before the session's first call."""

    def forget_session(self, session: SessionKey) -> None:
        """Unbinds an ended session from the instance that a late call may have bound it to."""

    def announce(self, target: Target) -> AbstractContextManager[None]:
        """Wraps the reading of a call's event: on entry, refuses the call at once if it could not run now.

        Raises the errors of `invoke`. Reserves nothing, so `invoke` may still refuse the call afterwards.
        """

    async def instances(self, service: str, function: str) -> list[InstanceInfo]:
        """The living instances of a function, of every version, including those still starting."""

    async def provisioned_of(self, target: Target) -> Provisioned:
        """The state of the provisioned instances configured under exactly this qualifier."""

    def exec(self, instance: InstanceInfo, command: Command) -> AbstractAsyncContextManager[RunningCommand]:
        """Runs a command in an instance. Leaving the context ends what is left of the command.

        Raises `NotFound`, `Exhausted` if too many commands run in the instance, and `PlatformError` if the command
        could not be started.
        """

    async def abort(self, service: str, function: str) -> None:
        """Makes all running calls of a function fail, of every version."""

    async def drain(self, patience_s: float) -> None:
        """Refuses new calls and gives those in flight `patience_s` seconds to end. On return no instance is left."""
