"""What is learned of a function's rhythm, and what follows for its instances.

Run by pytest.
"""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sesame.engine.keep_alive import (
    BINS,
    FUNCTIONS_MAX,
    HALVED_AT,
    IDLE_TIMES_MIN,
    KeepAlive,
    Rhythms,
    Windows,
    is_kept,
    kept_s,
    windows_of,
)

BOUNDS = KeepAlive(fixed_s=600.0, learned=True)
NAME = ("s", "LATEST", "f")
MINUTE_S = 60.0


def histogram(*minutes: int) -> list[int]:
    bins = [0] * BINS
    for minute in minutes:
        bins[minute] += 1
    return bins


def rhythm(rhythms: Rhythms, idle_s: float, times: int, start: float = 0.0) -> float:
    now = start
    for _ in range(times):
        rhythms.began(NAME, now)
        rhythms.ended(NAME, now + 1)
        now += 1 + idle_s
    return now


def test_a_function_of_a_timer_has_no_instance_until_shortly_before_its_call() -> None:
    windows = windows_of(histogram(*[30] * 20), 0, BOUNDS)
    assert windows is not None
    assert (windows.prewarm_s, windows.keep_s) == (27 * MINUTE_S, pytest.approx(34.1 * MINUTE_S))


def test_a_function_that_is_called_all_the_time_keeps_its_instance_until_the_longest_pause_that_is_worth_it() -> None:
    windows = windows_of(histogram(*[0] * 200, 2, 3, 200), 0, BOUNDS)
    assert windows is not None
    assert (windows.prewarm_s, windows.keep_s) == (0.0, pytest.approx(4.4 * MINUTE_S))


@pytest.mark.parametrize(
    ("bins", "beyond"),
    [
        (histogram(*[30] * (IDLE_TIMES_MIN - 1)), 0),
        (histogram(*[30] * 10), 11),
        ([1] * BINS, 0),
        ([0] * BINS, 100),
    ],
)
def test_what_says_nothing_leaves_the_fixed_time(bins: list[int], beyond: int) -> None:
    assert windows_of(bins, beyond, BOUNDS) is None


def test_windows_are_within_their_bounds() -> None:
    bounds = KeepAlive(fixed_s=600.0, learned=True, least_s=300.0, most_s=900.0)
    short = windows_of(histogram(*[0] * 20), 0, bounds)
    long = windows_of(histogram(*[100] * 20), 0, bounds)
    assert short == Windows(0.0, 300.0)
    assert long is not None
    assert long.keep_s == 900.0


@given(idle_s=st.floats(0, 20_000), prewarm_s=st.sampled_from([0.0, 120.0, 3240.0]), longer_s=st.floats(60, 9000))
def test_what_was_kept_adds_up(idle_s: float, prewarm_s: float, longer_s: float) -> None:
    windows = Windows(prewarm_s, prewarm_s + longer_s)
    assert 0 <= kept_s(idle_s, windows) <= idle_s
    if is_kept(idle_s, windows) and not prewarm_s:
        assert kept_s(idle_s, windows) == idle_s
    assert not is_kept(windows.keep_s, windows)


def test_a_rhythm_is_learned_from_the_end_of_the_last_call_on() -> None:
    rhythms = Rhythms(BOUNDS)
    now = rhythm(rhythms, 30 * MINUTE_S, 10)
    assert rhythms.windows(NAME) is None
    rhythm(rhythms, 30 * MINUTE_S, 1, now)
    found = rhythms.windows(NAME)
    assert found is not None
    assert found.prewarm_s == 27 * MINUTE_S
    assert rhythms.idle_since(NAME) == now + 1


def test_while_a_call_is_in_flight_the_function_is_not_idle() -> None:
    rhythms = Rhythms(BOUNDS)
    for now in (0.0, 1.0):
        rhythms.began(NAME, now)
    rhythms.ended(NAME, 2.0)
    assert rhythms.idle_since(NAME) is None
    rhythms.ended(NAME, 3.0)
    assert rhythms.idle_since(NAME) == 3.0


def test_a_rhythm_that_changes_is_learned_anew() -> None:
    rhythms = Rhythms(BOUNDS)
    now = rhythm(rhythms, 30 * MINUTE_S, 100)
    rhythm(rhythms, 60 * MINUTE_S, 3 * HALVED_AT, now)
    found = rhythms.windows(NAME)
    assert found is not None
    assert found.prewarm_s == 54 * MINUTE_S


def test_functions_are_forgotten_the_longest_uncalled_first() -> None:
    rhythms = Rhythms(BOUNDS)
    rhythms.began(("s", "LATEST", "running"), 0.0)
    for number in range(FUNCTIONS_MAX + 10):
        name = ("s", "LATEST", str(number))
        rhythms.began(name, float(number))
        rhythms.ended(name, float(number))
    assert rhythms.idle_since(("s", "LATEST", "0")) is None
    assert rhythms.idle_since(("s", "LATEST", str(FUNCTIONS_MAX + 9))) is not None
    rhythms.ended(("s", "LATEST", "running"), 5.0)
    assert rhythms.idle_since(("s", "LATEST", "running")) == 5.0
