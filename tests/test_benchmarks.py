"""What the benchmarks conclude from ratios: the interval of a median, and when a limit is exceeded beyond doubt.

And that the benchmark of the queue runs, at a size that measures nothing.
"""

import pytest
from benchmarks import bench_async_backlog
from benchmarks.ratios import interval, over, spread, under


@pytest.mark.parametrize(
    ("count", "first", "last"), [(1, 1, 1), (5, 1, 5), (6, 1, 6), (8, 1, 8), (9, 2, 8), (15, 4, 12), (31, 10, 22)]
)
def test_the_interval_of_a_median_is_between_these_of_so_many(count: int, first: int, last: int) -> None:
    assert interval([float(number) for number in range(count, 0, -1)]) == (first, last)


def test_a_limit_is_exceeded_only_beyond_doubt() -> None:
    noisy = [0.6, 0.8, 0.9, 1.0, 1.06, 1.07, 1.1, 1.2, 1.4]
    assert not over(noisy, 1.05)
    assert over([1.06, *noisy[4:], 1.08, 1.09, 1.1], 1.05)
    assert spread(noisy) == "median 1.06 × (95 %: 0.80 to 1.20; min 0.60, max 1.40, n=9)"


def test_a_target_is_missed_only_beyond_doubt() -> None:
    noisy = [0.6, 0.8, 0.9, 1.0, 1.06, 1.07, 1.1, 1.2, 1.4]
    assert not under(noisy, 1.15)
    assert under(noisy, 1.21)


def test_the_queue_is_measured_behind_a_backlog() -> None:
    ratios = bench_async_backlog.measure("sqlite", rows=1500, rounds=1)
    assert [len(each) for each in ratios.values()] == [1, 1]
    assert all(ratio > 0 for each in ratios.values() for ratio in each)
