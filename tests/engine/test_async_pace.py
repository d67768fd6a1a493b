"""How many asynchronous calls run at a time beside synchronous ones, on a clock that tests move.

Run by pytest.
"""

from dataclasses import dataclass, field

import pytest
from tests.support.fakes import FakeClocks

from sesame.engine.async_pace import ADJUST_EVERY_S, REST_MAX_S, REST_PER_CALL, STALE_AFTER_S, Pace
from sesame.engine.async_policies import CALLS_PER_CORE

CORES = 2
LEAST = CORES * CALLS_PER_CORE


@dataclass
class Machine:
    """The part of an engine and of a load that a pace asks; `load` is what the next look finds."""

    clocks: FakeClocks = field(default_factory=FakeClocks)
    load: float = 0.0
    calls_in_flight: int = 0
    calls_ended: int = 0

    def sample(self) -> float:
        return self.load

    def look(self, pace: Pace) -> None:
        self.clocks.advance(ADJUST_EVERY_S)
        pace.adjust()

    def call(self, pace: Pace, took_s: float) -> None:
        """One asynchronous call from begin to end."""
        pace.begun()
        self.calls_in_flight += 1
        self.clocks.advance(took_s)
        self.calls_in_flight -= 1
        self.calls_ended += 1
        pace.ended(took_s, reached=True)


@pytest.fixture
def machine() -> Machine:
    return Machine()


@pytest.fixture
def pace(machine: Machine) -> Pace:
    return Pace(machine, machine, machine.clocks, CORES)


def test_a_synchronous_call_gets_a_busy_machine_at_once(machine: Machine, pace: Pace) -> None:
    for _ in range(5):
        machine.look(pace)
    assert pace.limit > 64
    machine.load = 1.0
    machine.look(pace)
    machine.calls_in_flight += 1
    pace.adjust()
    assert pace.limit == 1, "without waiting for the next look"
    machine.look(pace)
    assert pace.limit == 1


def test_a_look_that_finds_synchronous_calls_on_a_busy_machine_leaves_it_to_them(machine: Machine, pace: Pace) -> None:
    for _ in range(5):
        machine.look(pace)
    machine.load, machine.calls_ended = 1.0, 1
    machine.look(pace)
    assert pace.limit == 1


def test_what_was_seen_long_ago_does_not_count(machine: Machine, pace: Pace) -> None:
    machine.calls_in_flight = 1
    machine.clocks.advance(STALE_AFTER_S)
    pace.adjust()
    assert pace.limit == 1, "an idle past does not tell that the machine is idle now"
    machine.look(pace)
    machine.look(pace)
    assert pace.limit == 3, "it is, and there is room beside the synchronous call"


def test_beside_synchronous_calls_one_call_runs_for_a_quarter_of_the_time(machine: Machine, pace: Pace) -> None:
    machine.load, machine.calls_in_flight = 1.0, 8
    machine.look(pace)
    before, ran_s = machine.clocks.monotonic(), 0.0
    for took_s in (0.004, 0.001, 0.02):
        machine.call(pace, took_s)
        ran_s += took_s
        assert pace.rests_until == pytest.approx(machine.clocks.monotonic() + took_s * REST_PER_CALL)
        machine.clocks.advance(took_s * REST_PER_CALL)
    assert ran_s == pytest.approx((machine.clocks.monotonic() - before) / 4)
    machine.call(pace, 5.0)
    assert pace.rests_until == pytest.approx(machine.clocks.monotonic() + REST_MAX_S), "never still for longer"


def test_all_of_the_machine_is_the_queues_once_synchronous_calls_are_over(machine: Machine, pace: Pace) -> None:
    machine.load, machine.calls_in_flight = 1.0, 3
    machine.look(pace)
    machine.call(pace, 0.01)
    machine.calls_in_flight, machine.calls_ended = 0, machine.calls_ended + 3
    machine.look(pace)
    assert pace.limit == 1, "they were there until a moment ago"
    machine.look(pace)
    assert (pace.limit, pace.rests_until) == (LEAST, 0.0)


def test_own_calls_are_not_taken_for_synchronous_ones(machine: Machine, pace: Pace) -> None:
    machine.load = 1.0
    for _ in range(5):
        machine.call(pace, 0.03)
        pace.begun()
        machine.calls_in_flight += 1
        machine.look(pace)
        machine.calls_in_flight -= 1
        pace.ended(0.03, reached=False)
        assert (pace.limit, pace.rests_until) == (LEAST, 0.0)
