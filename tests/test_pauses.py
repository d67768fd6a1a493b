"""Waiting tests look seldom enough to leave the processors to what they wait for, and often enough to go on soon."""

import pytest
from tests.support.pauses import MOST_S, Pauses


class Time:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize("look_s", [0.0001, 0.01, 0.05])
def test_what_comes_late_is_seen_a_tenth_later_and_looks_take_a_fifth_of_the_time(look_s: float) -> None:
    time = Time()
    pauses, looked_s = Pauses(0.002, time), 0.0
    while time.now < 110.0:
        time.now += look_s
        looked_s += look_s
        pause_s = pauses.after_look()
        assert pause_s <= max(0.002, 0.1 * (time.now - 100.0), 4 * look_s) + 1e-9
        time.now += pause_s
    assert looked_s <= 10.0 / 5 + look_s


def test_no_pause_is_long_and_none_is_shorter_than_asked() -> None:
    time = Time()
    pauses = Pauses(0.02, time)
    assert pauses.after_look() == 0.02
    time.now += 30.0
    assert pauses.after_look() == MOST_S
