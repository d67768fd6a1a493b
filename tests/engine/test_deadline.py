"""One timer for many time limits: it goes off when one is over, to the moment, and at no other time."""

from hypothesis import given
from hypothesis import strategies as st
from tests.support.fakes import FakeClocks

from sesame.engine.deadline import Deadline


class Watched:
    def __init__(self) -> None:
        self.clocks = FakeClocks()
        self.began = self.clocks.monotonic()
        self.over_at: list[float] = []
        self.deadline = Deadline(self.clocks, lambda: self.over_at.append(self.clocks.monotonic() - self.began))


def test_a_deadline_calls_back_at_its_time_and_once() -> None:
    watched = Watched()
    watched.deadline.set(3)
    watched.clocks.advance(2.9)
    assert watched.over_at == []
    watched.clocks.advance(60)
    assert watched.over_at == [3]
    assert watched.clocks.timers == []


def test_one_timer_serves_many_cancelled_deadlines_and_ends_without_any() -> None:
    watched = Watched()
    for _ in range(100):
        watched.deadline.set(3)
        assert len(watched.clocks.timers) == 1
        watched.clocks.advance(0.5)
        watched.deadline.lift()
    watched.clocks.advance(3)
    assert (watched.over_at, watched.clocks.timers) == ([], [])


def test_a_shorter_limit_after_a_longer_is_kept() -> None:
    watched = Watched()
    watched.deadline.set(600)
    watched.deadline.lift()
    watched.deadline.set(1)
    watched.clocks.advance(600)
    assert watched.over_at == [1]


def test_a_cancelled_deadline_never_calls_back() -> None:
    watched = Watched()
    watched.deadline.set(1)
    watched.deadline.close()
    watched.clocks.advance(10)
    watched.deadline.lift()
    assert (watched.over_at, watched.clocks.timers) == ([], [])


@given(st.lists(st.tuples(st.integers(1, 20), st.integers(0, 25)), max_size=12))
def test_each_deadline_fires_when_a_timer_of_its_own_would(steps: list[tuple[int, int]]) -> None:
    watched, expected = Watched(), []
    for limit_s, takes_s in steps:
        starts = watched.clocks.monotonic() - watched.began
        watched.deadline.set(limit_s)
        watched.clocks.advance(takes_s)
        watched.deadline.lift()
        if takes_s >= limit_s:
            expected.append(starts + limit_s)
    assert watched.over_at == expected
    assert len(watched.clocks.timers) <= 1
