"""The collaborators of the asynchronous invoker: queue, engine capacity, destinations, load and other agents.

Used by `engine.async_invoker`. `store.queue` implements the queue; the engine must not import the store.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Protocol

import msgspec

from sesame.model.async_invocation import Ending, Leased, NewDelivery, NewInvocation
from sesame.model.async_result import AsyncResult, Following
from sesame.model.clocks import Clocks
from sesame.model.errors import CallerError
from sesame.model.invocation import Invocation, Outcome, Target


class WorkQueue(Protocol):
    """Leases on queued invocations. `finish` and `retry` return False, writing nothing, if the lease was lost."""

    async def claim(self, limit: int) -> list[Leased]:
        """Returns up to `limit` due invocations, oldest first; fewer only if no more are due."""

    def started(self, lease: Leased, instance_id: str) -> None:
        """Records that the function runs in this instance. Does not wait for the write."""

    async def extend(self, leases: Sequence[Leased]) -> list[bool]:
        """Renews leases for their full duration. Returns, for each, whether it was still held."""

    async def finish(
        self, lease: Leased, ending: Ending, then: Sequence[NewInvocation | NewDelivery], *, patient: bool
    ) -> bool:
        """Commits the final state together with its follow-ups `then`.

        A `patient` write may be batched for milliseconds.
        """

    async def retry(
        self, lease: Leased, not_before: float, *, counted: bool, error: str, duration_ms: float | None
    ) -> bool:
        """Lets the invocation wait until `not_before` (Unix seconds). `counted` is set for an error of the function.

        `duration_ms` is how long the function ran; None if it was not called.
        """

    async def release(self, leases: Sequence[Leased]) -> None:
        """Returns invocations to the queue as if they had not been claimed."""

    def on_work(self, callback: Callable[[], None]) -> None:
        """Registers a callback, called on the event loop when an invocation may have become due."""

    def on_accepted(self, room: Callable[[], int], take: Callable[[Sequence[Leased]], None]) -> None:
        """Leases due invocations to the caller as they are accepted, while no older ones wait.

        `room` returns how many the caller takes now, and may be called on any thread; `take` receives their leases on
        the event loop.
        """

    def on_stop(self, callback: Callable[[int], None]) -> None:
        """Registers a callback for the `seq` of a claimed invocation that shall be stopped."""


class CallsOfEngine(Protocol):
    """Counts of an engine's calls, synchronous and asynchronous."""

    @property
    def calls_in_flight(self) -> int: ...

    @property
    def calls_ended(self) -> int:
        """How many calls have reached their function and ended since the engine started."""


class CallEngine(CallsOfEngine, Protocol):
    """The part of the engine that the asynchronous invoker uses."""

    def invoke(self, invocation: Invocation, began: Callable[[str], None]) -> Awaitable[Outcome]:
        """Same as `engine.interface.Engine.invoke`. Cancelling a call ends only the instance it ran on.

        `began(instance_id)` is called once an instance has been found for the call.
        """

    def has_capacity_for_async(
        self,
        target: Target,
        calling: Mapping[Target, int],
        starting: Mapping[Target, int],
        there: "OnMachine | None" = None,
        free: int = 0,
    ) -> bool:
        """Whether one more asynchronous call may start beside those in `calling` and `starting`.

        With several machines, `there` names the machine to check and the calls that run on it. If instances of
        `target` serve several calls at a time, `free` is how many more calls those of other agents take: on that
        machine, or on the only one.
        """


class OnMachine(msgspec.Struct, frozen=True):
    """The asynchronous calls on one machine, numbered as in `engine.capacity`: 0 is this machine."""

    machine: int
    calling: Mapping[Target, int]
    starting: Mapping[Target, int]


class Place(Protocol):
    """An agent that runs asynchronous calls."""

    @property
    def agent(self) -> int: ...

    @property
    def machine(self) -> int:
        """The machine's number, as in `OnMachine`."""

    def idle(self, target: Target) -> int:
        """How many calls of `target` the instances here can take, as far as that is known."""

    def invoke(
        self, invocation: Invocation, entered: Callable[[], None], began: Callable[[str], None]
    ) -> Awaitable[Outcome]:
        """Same as `CallEngine.invoke`. `entered` is called once the call's instance is counted among the instances.

        Raises `PlatformError` if the agent has ended; nothing of the call is then left.
        """


class Load(Protocol):
    def sample(self) -> float:
        """How busy this process or the machine was since the last sample, whichever was busier: 0 to 1."""


class MachineState(msgspec.Struct, frozen=True):
    """What determines a machine's pace. A new load is available every `looks_every_s` seconds."""

    calls: CallsOfEngine
    load: Load
    cores: int
    looks_every_s: float


class OtherPlaces(Protocol):
    """The other agents that run asynchronous calls."""

    def may_run(self, target: Target) -> Sequence[Place]:
        """The agents that accept calls of `target` now."""

    def version_drawn(self, target: Target, before: str) -> str:
        """The version that a call of an alias with a canary calls: `before`, if it was drawn already and the alias has
        it still. "" for any other target.
        """

    def concurrency(self, target: Target) -> int:
        """How many calls an instance of `target` serves at a time."""

    def idle_here(self, target: Target) -> int:
        """Same as `Place.idle`, for this agent."""

    def memory_left(self, machine: int) -> int:
        """MB not taken by any instance on `machine`; with only one machine, the same for every agent."""

    def machines(self) -> Mapping[int, MachineState]:
        """Every machine that has agents, this one being 0. A machine keeps the same value as long as it is a member."""


# Translates a refusal into the API's status, code and message.
Wording = Callable[[CallerError], tuple[int, str, str]]


class InvokerDependencies(msgspec.Struct, frozen=True, kw_only=True):
    """`chance` returns numbers in [0, 1); `lease_s` is the duration of a queue lease. `others` is None if this is the
    only agent.
    """

    queue: WorkQueue
    engine: CallEngine
    clocks: Clocks
    follow: Callable[[AsyncResult], Awaitable[Following]]
    wording: Wording
    load: Load
    chance: Callable[[], float]
    cores: int
    lease_s: float
    others: OtherPlaces | None = None
