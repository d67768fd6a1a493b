"""Chooses where asynchronous calls run (in this process or at another agent) and bounds them on each machine.

Used by `engine.async_invoker`. With a single agent there is only one place, and nothing to choose.
"""

from collections.abc import Awaitable, Callable, Sequence
from enum import Enum
from typing import Final, Literal

from sesame.engine.async_pace import ADJUST_EVERY_S, Pace
from sesame.engine.async_policies import Candidate, best
from sesame.engine.async_work import CallEngine, InvokerDependencies, MachineState, OnMachine, OtherPlaces, Place
from sesame.model.clocks import Clocks
from sesame.model.invocation import Invocation, Outcome, Target


class _Later(Enum):
    LATER = "later"


# The function has capacity, but the machines that could run the call already run as many calls as they may.
LATER: Final = _Later.LATER


class _InFlight:
    """Asynchronous calls by target. `starting` ones are not yet counted among the instances, `calling` ones are."""

    __slots__ = ("calling", "count", "starting")

    def __init__(self) -> None:
        self.count = 0
        # Plain dictionaries: a Counter's methods in Python would run several times for each call.
        self.starting: dict[Target, int] = {}
        self.calling: dict[Target, int] = {}


class _Machine:
    """One machine: how many calls may run on it, and which do."""

    def __init__(self, state: MachineState, clocks: Clocks, calls: _InFlight) -> None:
        self.pace = Pace(state.calls, state.load, clocks, state.cores, state.looks_every_s)
        self.state = state
        self.calls = calls

    def has_room(self) -> bool:
        return self.calls.count < self.pace.limit


class Spot:
    """What a call occupies at its place until it has ended."""

    __slots__ = ("_fresh", "_levels", "_taken", "_target", "pace", "place")

    def __init__(self, place: Place, pace: Pace, levels: Sequence[_InFlight], target: Target) -> None:
        self.place = place
        self.pace = pace
        self._levels = levels
        self._target = target
        self._taken = self._fresh = True
        for each in levels:
            each.count += 1
            _one_more(each.starting, target)

    def enter(self) -> None:
        """From now on the engine counts the call's instance. Idempotent."""
        if self._taken and self._fresh:
            self._fresh = False
            for each in self._levels:
                _one_less(each.starting, self._target)
                _one_more(each.calling, self._target)

    def leave(self) -> bool:
        """Frees the spot when its call has ended. Returns False if it was already free."""
        if not self._taken:
            return False
        self._taken = False
        for each in self._levels:
            each.count -= 1
            _one_less(each.starting if self._fresh else each.calling, self._target)
        return True


class _Here:
    """The `Place` that is this process."""

    agent = machine = 0

    def __init__(self, engine: CallEngine, others: OtherPlaces | None) -> None:
        self._engine = engine
        self._others = others

    def idle(self, target: Target) -> int:
        return 0 if self._others is None else self._others.idle_here(target)

    def invoke(
        self, invocation: Invocation, entered: Callable[[], None], began: Callable[[str], None]
    ) -> Awaitable[Outcome]:
        entered()
        return self._engine.invoke(invocation, began)


class Places:
    def __init__(self, given: InvokerDependencies) -> None:
        self._engine = given.engine
        self._clocks = given.clocks
        self._others = others = given.others
        self.here: Place = _Here(given.engine, others)
        self._all = _InFlight()
        # By agent; empty while there is only one.
        self._by_agent: dict[int, _InFlight] = {}
        # The only machine, if there are no other agents: most questions are then answered without a search.
        self._only: _Machine | None = None
        if others is None:
            alone = MachineState(given.engine, given.load, given.cores, ADJUST_EVERY_S)
            self._only = _Machine(alone, given.clocks, self._all)
            self._machines = {0: self._only}
        else:
            self._machines = {}
            self._match(others)

    @property
    def slots(self) -> int:
        """How many calls have not returned from their functions."""
        return self._all.count

    @property
    def limit(self) -> int:
        """How many calls may run now, on all machines together."""
        if self._only is not None:
            return self._only.pace.limit
        return sum(each.pace.limit for each in self._machines.values())

    def runs(self, target: Target) -> bool:
        return target in self._all.calling or target in self._all.starting

    def adjust(self) -> None:
        """Updates the limits. Called before calls are started."""
        if self._only is not None:
            self._only.pace.adjust()
            return
        assert self._others is not None
        self._match(self._others)
        for each in self._machines.values():
            each.pace.adjust()

    def _match(self, others: OtherPlaces) -> None:
        states = others.machines()
        for number, state in states.items():
            machine = self._machines.get(number)
            if machine is None or machine.state is not state:
                self._machines[number] = _Machine(state, self._clocks, _InFlight())
        removed = self._machines.keys() - states.keys()
        for number in removed:
            del self._machines[number]
        if removed:
            # A node that rejoins gets a new number, so these entries would never be used again.
            self._by_agent = {agent: calls for agent, calls in self._by_agent.items() if calls.count}

    def has_room(self) -> bool:
        """Whether any machine runs fewer calls than it may, even if it must rest first."""
        if self._only is not None:
            return self._only.has_room()
        return any(each.has_room() for each in self._machines.values())

    def rests_s(self) -> float:
        """Seconds until a machine with room may start a call; 0 if one may start now."""
        if self._only is not None and not self._only.pace.rests_until:
            return 0.0
        now = self._clocks.monotonic()
        return max(
            min((each.pace.rests_until for each in self._machines.values() if each.has_room()), default=0) - now, 0
        )

    def version_drawn(self, target: Target, before: str) -> str:
        """As `OtherPlaces.version_drawn`. One agent alone leaves it to the call."""
        return "" if self._others is None else self._others.version_drawn(target, before)

    def find(self, target: Target) -> Place | Literal[_Later.LATER] | None:
        """Where one more call of `target` can run; LATER if only a full machine could, None without capacity."""
        calls, others = self._all, self._others
        if others is None:
            return self.here if self._engine.has_capacity_for_async(target, calls.calling, calls.starting) else None
        now = self._clocks.monotonic()
        capable: dict[int, bool] = {}
        open_places: list[Place] = []
        followers = others.may_run(target)
        # Listed first, so that ties go to another agent: this one also runs the queue.
        for place in (*followers, self.here):
            number = place.machine
            if number not in capable:
                capable[number] = self._has_capacity(target, number, followers, others)
            machine = self._machines.get(number)
            if capable[number] and machine is not None and machine.has_room() and machine.pace.rests_until <= now:
                open_places.append(place)
        if open_places:
            return open_places[best([self._candidate(each, target, others) for each in open_places])]
        return LATER if any(capable.values()) else None

    def _has_capacity(self, target: Target, number: int, followers: Sequence[Place], others: OtherPlaces) -> bool:
        calls, free = self._all, 0
        if others.concurrency(target) > 1:
            free = sum(each.idle(target) for each in followers if each.machine == number)
        if len(self._machines) == 1:
            return self._engine.has_capacity_for_async(target, calls.calling, calls.starting, free=free)
        machine = self._machines.get(number)
        if machine is None:
            return False
        on_machine = OnMachine(number, machine.calls.calling, machine.calls.starting)
        return self._engine.has_capacity_for_async(target, calls.calling, calls.starting, on_machine, free)

    def _candidate(self, place: Place, target: Target, others: OtherPlaces) -> Candidate:
        calls = self._by_agent.get(place.agent)
        if calls is None:
            calls = self._by_agent[place.agent] = _InFlight()
        idle = place.idle(target)
        if target in calls.starting:
            idle -= calls.starting[target]
            if idle < 0:
                # The instances that they start have room for more calls.
                idle %= others.concurrency(target)
        return Candidate(idle=idle, calls=calls.count, memory_left_mb=others.memory_left(place.machine))

    def begin(self, target: Target, place: Place) -> Spot:
        """Occupies a spot for a call of `target` at `place`."""
        machine = self._machines.get(place.machine) or self._machines[0]
        levels = (self._all,) if machine.calls is self._all else (
            self._all, machine.calls, self._by_agent.setdefault(place.agent, _InFlight())
        )  # fmt: skip
        return Spot(place, machine.pace, levels, target)


def _one_more(counts: dict[Target, int], target: Target) -> None:
    counts[target] = counts.get(target, 0) + 1


def _one_less(counts: dict[Target, int], target: Target) -> None:
    left = counts[target] - 1
    if left:
        counts[target] = left
    else:
        del counts[target]
