"""Where asynchronous calls run, of several agents on one machine or on several; on fakes.

Run by pytest.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import pytest
from tests.support.fakes import FakeClocks

from sesame.engine.async_pace import ADJUST_EVERY_S
from sesame.engine.async_places import LATER, Places, Spot
from sesame.engine.async_policies import CALLS_PER_CORE, Candidate, best
from sesame.engine.async_work import InvokerDependencies, MachineState, OnMachine, Place
from sesame.model.invocation import Invocation, Outcome, Target

F, G = Target("s", "LATEST", "f"), Target("s", "LATEST", "g")
CORES = 1
LEAST = CORES * CALLS_PER_CORE


@dataclass
class Agent:
    """As `Place`."""

    agent: int
    machine: int
    waits: dict[Target, int] = field(default_factory=dict)

    def idle(self, target: Target) -> int:
        return self.waits.get(target, 0)

    def invoke(
        self, invocation: Invocation, entered: Callable[[], None], began: Callable[[str], None]
    ) -> Awaitable[Outcome]:
        raise AssertionError("nothing is called here")


@dataclass
class Machine:
    """The part of an engine and of a load that a pace asks: always busy, without synchronous calls."""

    calls_in_flight: int = 0
    calls_ended: int = 0

    def sample(self) -> float:
        return 1.0


@dataclass
class Sesame:
    """An engine and the other agents; `memory` is how many more calls each machine has memory for."""

    memory: dict[int, int]
    agents: list[Agent] = field(default_factory=list)
    idle_at_writer: int = 0
    # How many calls an instance serves.
    serves: int = 1
    states: dict[int, MachineState] = field(default_factory=dict)
    calls_in_flight: int = 0
    calls_ended: int = 0

    def __post_init__(self) -> None:
        for number in self.memory:
            self.states[number] = MachineState(Machine(), Machine(), CORES, ADJUST_EVERY_S)

    def may_run(self, target: Target) -> Sequence[Place]:
        return [each for each in self.agents if target != G]

    def version_drawn(self, _target: Target, _before: str) -> str:
        return ""

    def concurrency(self, _target: Target) -> int:
        return self.serves

    def idle_here(self, _target: Target) -> int:
        return self.idle_at_writer

    def memory_left(self, machine: int) -> int:
        return self.memory[machine]

    def machines(self) -> Mapping[int, MachineState]:
        return self.states

    def has_capacity_for_async(
        self,
        _target: Target,
        calling: Mapping[Target, int],
        starting: Mapping[Target, int],
        there: OnMachine | None = None,
        free: int = 0,
    ) -> bool:
        number = 0 if there is None else there.machine
        calls = (calling, starting) if there is None else (there.calling, there.starting)
        return sum(sum(each.values()) for each in calls) < self.memory[number]

    def places(self) -> Places:
        unused, clocks = cast(Any, None), FakeClocks()
        return Places(
            InvokerDependencies(
                queue=unused,
                engine=cast(Any, self),
                clocks=clocks,
                follow=unused,
                wording=unused,
                load=Machine(),
                chance=unused,
                cores=CORES,
                lease_s=60.0,
                others=cast(Any, self),
            )
        )


def begin(places: Places, target: Target = F) -> Spot:
    place = places.find(target)
    assert place is not None
    assert place is not LATER
    return places.begin(target, place)


@pytest.mark.parametrize(
    ("candidates", "chosen"),
    [
        ([Candidate(0, 0, 9000), Candidate(1, 5, 10)], 1),
        ([Candidate(0, 3, 500), Candidate(0, 9, 501)], 1),
        ([Candidate(1, 4, 500), Candidate(7, 2, 500), Candidate(0, 0, 900)], 1),
        ([Candidate(0, 4, 500), Candidate(0, 2, 500), Candidate(0, 2, 500)], 1),
        ([Candidate(0, 2, 500), Candidate(-1, 0, 500)], 1),
    ],
)
def test_warmth_comes_first_then_memory_then_who_has_least_to_do(candidates: list[Candidate], chosen: int) -> None:
    assert best(candidates) == chosen


def test_cold_calls_spread_over_the_agents_of_a_machine_and_come_to_the_writer_last() -> None:
    sesame = Sesame({0: 9}, [Agent(2, 0), Agent(3, 0)])
    sesame.states[0] = MachineState(Machine(), Machine(), 3, ADJUST_EVERY_S)
    places = sesame.places()
    assert [begin(places).place.agent for _ in range(6)] == [2, 3, 0, 2, 3, 0]


def test_calls_fill_the_instance_that_the_first_of_them_starts() -> None:
    sesame = Sesame({0: 9}, [Agent(2, 0), Agent(3, 0)], serves=2)
    sesame.states[0] = MachineState(Machine(), Machine(), 3, ADJUST_EVERY_S)
    places = sesame.places()
    assert [begin(places).place.agent for _ in range(6)] == [2, 2, 3, 3, 0, 0]


def test_an_idle_instance_takes_one_call_until_it_is_known_which() -> None:
    sesame = Sesame({0: 9}, [Agent(2, 0), Agent(3, 0, {F: 1})])
    places = sesame.places()
    assert begin(places).place.agent == 3
    assert begin(places).place.agent == 2, "its only idle instance is to take the first call"


def test_what_followers_do_not_run_is_the_writers() -> None:
    places = Sesame({0: 9}, [Agent(2, 0)]).places()
    assert begin(places, G).place is places.here


def test_each_machine_has_a_pace_of_its_own() -> None:
    places = Sesame({0: 9, 2: 5}, [Agent(2, 2)]).places()
    assert places.limit == 2 * LEAST
    # The writer's machine has more memory left.
    assert [begin(places).place.machine for _ in range(2 * LEAST)] == [0] * LEAST + [2] * LEAST
    assert not places.has_room()


def test_what_fits_only_where_enough_run_waits_for_those() -> None:
    sesame = Sesame({0: 9, 2: 0}, [Agent(2, 2)])
    places = sesame.places()
    spots = [begin(places) for _ in range(LEAST)]
    assert places.has_room(), "on the other machine"
    assert places.find(F) is LATER
    spots[0].leave()
    assert begin(places).place.machine == 0
    sesame.memory[0] = 0
    assert places.find(F) is None, "no capacity anywhere"


def test_a_machine_that_has_gone_takes_none_and_its_calls_leave() -> None:
    sesame = Sesame({0: 9, 2: 99}, [Agent(2, 2)])
    places = sesame.places()
    spot = begin(places)
    assert spot.place.machine == 2
    del sesame.states[2]
    places.adjust()
    assert (places.limit, places.slots) == (LEAST, 1)
    assert begin(places).place.machine == 0
    spot.enter()
    assert [spot.leave(), spot.leave()] == [True, False]
    spot.enter()
    assert places.slots == 1
    assert places.runs(F)
