"""A process that hangs is told from one that waits for a processor, as on a machine that is overloaded."""

import os
from itertools import accumulate

import pytest

from sesame.agents.silence import Silence, waited_for_processor_s

PID = 4711


def counted(waits_s: list[float], pid: int = PID, turn_s: float = 1.0) -> float:
    """How often it was asked in vain, of one that waited so long before each look."""
    times = iter([number * turn_s for number in range(len(waits_s))])
    waited = iter(list(accumulate(waits_s)))
    silence = Silence(lambda _pid: next(waited), lambda: next(times))
    for _ in waits_s:
        silence.count(pid)
    return silence.times


def test_one_that_does_not_wait_is_counted_with_every_look() -> None:
    assert counted([0.0] * 6) == 6.0


@pytest.mark.parametrize("wait_s", [0.9, 0.99])
def test_one_that_waits_for_a_processor_nearly_all_the_time_is_hardly_counted(wait_s: float) -> None:
    assert counted([wait_s] * 21) == pytest.approx(1.0 + 20 * (1.0 - wait_s))


def test_a_wait_that_is_told_late_is_made_good() -> None:
    assert counted([0.0, 0.0, 2.0, 1.0]) == 1.0
    assert counted([0.0, 0.0, 2.0, 0.0, 0.0]) == 3.0


def test_of_a_process_elsewhere_all_time_counts() -> None:
    assert counted([0.9] * 6, pid=0) == 6.0


def test_looks_that_come_late_themselves_count_once() -> None:
    assert counted([0.0] * 3, turn_s=30.0) == 3.0


def test_an_answer_is_the_end_of_it() -> None:
    silence = Silence()
    silence.count(os.getpid())
    silence.answered()
    assert silence.times == 0.0


def test_the_kernel_tells_how_long_a_process_waited_and_nothing_of_none() -> None:
    assert waited_for_processor_s(os.getpid()) >= 0.0
    assert waited_for_processor_s(2**30) == 0.0
