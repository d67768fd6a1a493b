"""What endpoints know of the engine: call a function, see its instances, run a command in one, stop.

Implemented by `engine.running.LocalEngine` in this process. Nothing here says on which machine an instance runs, so an
engine that forwards to other agents can stand in its place.
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
# As `Engine.invoke`.
Invoke = Callable[..., Awaitable[Outcome]]


class InstanceInfo(msgspec.Struct, frozen=True):
    """A running instance: which function it belongs to and from which version it was made (LATEST or a number).

    `created_at` is Unix seconds.
    """

    instance_id: str
    service: str
    function: str
    version_id: str
    created_at: float = 0.0
    provisioned: bool = False


class RunningCommand(msgspec.Struct, frozen=True):
    """A command in an instance. `instance_ended` tells an end of the instance from an end of the command alone."""

    execution: Execution
    instance_ended: Callable[[], bool]


class Provisioned(msgspec.Struct, frozen=True):
    """How many instances a configuration wants now and has ready; `error` says why it has fewer, if a start failed."""

    target: int
    current: int
    error: str = ""


class Observer(msgspec.Struct, frozen=True):
    """Who watches an engine. Called on its event loop amid the call: must return at once and raise nothing.

    `ended` gets each call, asynchronous attempts too, with its outcome or with what it raised instead; `refused` gets
    what was refused before its event was read. `wrote` gets what functions write and the platform's own lines, as a log
    sink does.
    """

    ended: Callable[[Invocation, Outcome | BaseException], None] | None = None
    refused: Callable[[Target, CallerError], None] | None = None
    wrote: LogSink | None = None


def together(first: Observer, second: Observer) -> Observer:
    """An observer that tells both, the first one first."""
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
    """How a call ended, and the credentials that it had, which must not be shown."""

    outcome: Outcome
    credentials: Credentials


class Trials(Protocol):
    async def run(self, snapshot: Snapshot, invocation: Invocation) -> Trial:
        """One call of a snapshot on an instance of its own, which ends then. Raises as `invoke`."""


class Destined(msgspec.Struct, frozen=True):
    """What a call will run, by one draw where an alias parts its calls.

    `version` is for `Invocation.version`. With `streams`, the function takes requests as they come, by an
    invocation's `stream`.
    """

    version: str
    streams: bool


class Engine(Protocol):
    def invoke(self, invocation: Invocation) -> Awaitable[Outcome]:
        """Runs one call to its end. How the function fared is in the outcome.

        Raises the API's errors for what cannot be called (not found, not startable, over a cap) and `PlatformError` for
        a failure of this server. A cancelled call ends the instance that it ran on.
        """

    def destined(self, target: Target, session_id: str = "") -> Destined:
        """Where a call to `target` goes that is made with the `version` in the answer. Raises as `invoke`."""

    def affinity(self, target: Target) -> SessionAffinity | None:
        """How calls of the function name their session; None where they have none, and for what cannot be called."""

    def session_instance(self, parent: str, session_id: str) -> str:
        """The id of the instance that a session's calls go to; "" until one has come to an instance."""

    def forget_session(self, session: SessionKey) -> None:
        """The session is over, and a call of it may have bound an instance to it since."""

    def announce(self, target: Target) -> AbstractContextManager[None]:
        """For a call whose event is still to be read, which happens inside: refuses at once what could not run now.

        Raises as `invoke` does. Reserves nothing: `invoke` may refuse the call afterwards.
        """

    async def instances(self, service: str, function: str) -> list[InstanceInfo]:
        """The instances of a function, of every version, that have been started and have not ended."""

    async def provisioned_of(self, target: Target) -> Provisioned:
        """How the configuration of provisioned instances fares that is under exactly this qualifier."""

    def exec(self, instance: InstanceInfo, command: Command) -> AbstractAsyncContextManager[RunningCommand]:
        """Runs a command in an instance; what is left of it ends with the context.

        Raises `NotFound`, `Exhausted` when too many commands run there, and `PlatformError` when the
        command could not be started.
        """

    async def abort(self, service: str, function: str) -> None:
        """Has the calls of a function that run now fail, of every version."""

    async def drain(self, patience_s: float) -> None:
        """On return nothing runs. New calls are refused at once; those in flight have `patience_s` to end."""
