"""One timer for many due times: rings on time, notices a clock that is set, and costs no more than its looks."""

import pytest
from tests.support.fakes import FakeClocks

from sesame.model.alarm import LOOK_EVERY_S, Alarm


class Rings:
    """An alarm and what it has told."""

    def __init__(self) -> None:
        self.clocks = FakeClocks()
        self.start = self.clocks.wall()
        self.at: list[float] = []
        self.back: list[float] = []
        self.alarm = Alarm(self.clocks, lambda: self.at.append(self.clocks.wall() - self.start), self.back.append)

    def set(self, after_s: float) -> None:
        self.alarm.set(self.start + after_s)


@pytest.fixture
def rings() -> Rings:
    return Rings()


def test_rings_once_at_its_time_near_or_far(rings: Rings) -> None:
    for after_s in (0.25, 59.0, 60.0, 86400.0):
        rings.set(after_s)
        rings.clocks.advance(after_s - 0.01 - (rings.clocks.wall() - rings.start))
        before = len(rings.at)
        rings.clocks.advance(1)
        assert rings.at[before:] == [pytest.approx(after_s)]
    rings.clocks.advance(10 * 86400)
    assert len(rings.at) == 4
    assert rings.clocks.timers == []


def test_the_earlier_of_two_settings_counts_when_it_is_set_last_and_so_does_the_later(rings: Rings) -> None:
    rings.set(50)
    rings.set(10)
    rings.clocks.advance(20)
    assert rings.at == [10]
    rings.set(30)
    rings.set(50)
    rings.clocks.advance(29)
    assert rings.at == [10]
    rings.clocks.advance(1000)
    assert rings.at == [10, 50]


def test_what_is_past_rings_at_the_next_turn_and_what_is_closed_never(rings: Rings) -> None:
    rings.set(-5)
    assert rings.at == []
    rings.clocks.advance(0)
    assert rings.at == [0]
    rings.set(5)
    rings.alarm.close()
    rings.clocks.advance(100)
    assert rings.at == [0]
    assert rings.clocks.timers == []


def test_a_clock_that_is_set_forward_is_noticed_at_the_next_look(rings: Rings) -> None:
    rings.set(7200)
    rings.clocks.advance(10)
    rings.clocks.set_wall(rings.start + 7300)
    rings.clocks.advance(LOOK_EVERY_S)
    assert len(rings.at) == 1
    assert rings.back == []


def test_a_clock_that_is_set_back_is_told_and_waited_for(rings: Rings) -> None:
    rings.set(100)
    rings.clocks.advance(90)
    rings.clocks.set_wall(rings.clocks.wall() - 3600)
    rings.clocks.advance(LOOK_EVERY_S)
    assert rings.back == [pytest.approx(3600)]
    assert rings.at == []
    rings.clocks.advance(3600)
    assert rings.at == [pytest.approx(100)]


def test_waiting_costs_one_look_a_minute(rings: Rings) -> None:
    rings.set(86400)
    rings.clocks.advance(86399)
    assert rings.clocks.wakes <= 86400 / LOOK_EVERY_S
    assert len(rings.clocks.timers) == 1
