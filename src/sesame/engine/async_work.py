"""What running asynchronous invocations needs of others: the queue, the engine's capacity, destinations, load, agents.

Used by `engine.async_invoker`. The queue is `store.queue`'s; the engine must not know the store.
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
    """Leases on invocations. False from `finish` and `retry`: the lease was lost, and nothing was written."""

    async def claim(self, limit: int) -> list[Leased]:
        """At most `limit` invocations that are due, the oldest first; fewer only when no more are due."""

    def started(self, lease: Leased, instance_id: str) -> None:
        """Records that the function runs in this instance. Waits for nothing."""

    async def extend(self, leases: Sequence[Leased]) -> list[bool]:
        """Which of them are still held; those for as long again as a new lease."""

    async def finish(
        self, lease: Leased, ending: Ending, then: Sequence[NewInvocation | NewDelivery], *, patient: bool
    ) -> bool:
        """Commits the final state together with what follows from it; some milliseconds later where it is `patient`."""

    async def retry(
        self, lease: Leased, not_before: float, *, counted: bool, error: str, duration_ms: float | None
    ) -> bool:
        """Has the invocation wait until `not_before`; `counted` for an error of the function.

        `duration_ms` is how long the function ran, None where it was not called.
        """

    async def release(self, leases: Sequence[Leased]) -> None:
        """Gives invocations back as if they had not been claimed."""

    def on_work(self, callback: Callable[[], None]) -> None:
        """Calls back on the event loop when there may be something due."""

    def on_accepted(self, room: Callable[[], int], take: Callable[[Sequence[Leased]], None]) -> None:
        """Has what is due leased to the caller with its acceptance, while nothing older waits.

        `room` says how many are taken now, on any thread; `take` gets their leases on the event loop.
        """

    def on_stop(self, callback: Callable[[int], None]) -> None:
        """Calls back with the `seq` of a claimed invocation that is to be stopped."""


class CallsOfEngine(Protocol):
    """How many calls of every kind an engine has."""

    @property
    def calls_in_flight(self) -> int: ...

    @property
    def calls_ended(self) -> int:
        """Those that reached their function and ended, since the start."""


class CallEngine(CallsOfEngine, Protocol):
    """The part of the engine that is used here."""

    def invoke(self, invocation: Invocation, began: Callable[[str], None]) -> Awaitable[Outcome]:
        """As `engine.interface.Engine.invoke`. A cancelled call ends the instance that it ran on, and no other.

        `began` is called once an instance has been found for the call, with the id of the instance.
        """

    def has_capacity_for_async(
        self,
        target: Target,
        calling: Mapping[Target, int],
        starting: Mapping[Target, int],
        there: "OnMachine | None" = None,
    ) -> bool:
        """Whether one more asynchronous call may start, beside those that run and those that just start, by target.

        Where there are several machines, `there` says on which one, and which of them are on it.
        """


class OnMachine(msgspec.Struct, frozen=True):
    """The asynchronous calls on one of several machines, numbered as `engine.capacity` does: 0 is this one."""

    machine: int
    calling: Mapping[Target, int]
    starting: Mapping[Target, int]


class Place(Protocol):
    """An agent that runs asynchronous calls."""

    @property
    def agent(self) -> int: ...

    @property
    def machine(self) -> int:
        """As `OnMachine`."""

    def idle(self, target: Target) -> int:
        """How many instances that wait for a call of it are there."""

    def invoke(
        self, invocation: Invocation, entered: Callable[[], None], began: Callable[[str], None]
    ) -> Awaitable[Outcome]:
        """As `CallEngine.invoke`. `entered` is called once what the call takes is counted among the instances.

        Raises `PlatformError` where the agent has ended, and nothing is left of the call.
        """


class Load(Protocol):
    def sample(self) -> float:
        """How busy this process or the machine was since the last sample, whichever is busier: 0 to 1."""


class MachineState(msgspec.Struct, frozen=True):
    """What the pace of a machine is decided by. Its load is known anew every `looks_every_s`."""

    calls: CallsOfEngine
    load: Load
    cores: int
    looks_every_s: float


class OtherPlaces(Protocol):
    """The other agents that run asynchronous calls."""

    def may_run(self, target: Target) -> Sequence[Place]:
        """Those that take calls of it now."""

    def idle_here(self, target: Target) -> int:
        """As `Place.idle`, of this agent."""

    def memory_left(self, machine: int) -> int:
        """How many MB no instance has; the same for all where there is one machine."""

    def machines(self) -> Mapping[int, MachineState]:
        """Of this machine, 0, and of each that has other agents; the same values as long as it is there."""


# The API's words for a refusal: status, code and text.
Wording = Callable[[CallerError], tuple[int, str, str]]


class InvokerDependencies(msgspec.Struct, frozen=True, kw_only=True):
    """`chance` gives numbers in [0, 1); `lease_s` is how long a lease of the queue lasts. `others` are None where this
    agent is the only one.
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
