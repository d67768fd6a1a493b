"""What the benchmarks conclude from ratios: the interval of a median, and when a limit is exceeded beyond doubt.

And that the benchmark of the queue runs, at a size that measures nothing.
"""

from pathlib import Path

import pytest
from benchmarks import bench_async_backlog, keep_alive
from benchmarks.ratios import interval, over, spread, under
from benchmarks.trace import azure2019
from benchmarks.trace.generator import generate

from sesame.engine.keep_alive import KeepAlive

# In all days; what is called more often costs the replay much and starts cold seldom.
FEW_CALLS = 2000


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


def test_learned_keep_alive_has_fewer_cold_starts_at_no_more_memory() -> None:
    functions = [each for each in generate(90, 2, keep_alive.SEED) if sum(each.per_minute) < FEW_CALLS]
    fixed = keep_alive.total(functions, KeepAlive(keep_alive.FIXED_S))
    learned = keep_alive.total(functions, KeepAlive(keep_alive.FIXED_S, learned=True))
    assert learned.calls == fixed.calls > 1000
    assert learned.cold <= keep_alive.COLD_MAX * fixed.cold
    assert learned.memory_mb_s <= keep_alive.MEMORY_MAX * fixed.memory_mb_s


def test_a_trace_is_read_as_it_was_written(tmp_path: Path) -> None:
    functions = [each for each in generate(20, 2, 7) if any(each.per_minute)]
    azure2019.write(tmp_path, functions)
    assert azure2019.days(tmp_path) == [1, 2]
    read = {each.name: each for each in azure2019.read(tmp_path)}
    for each in functions:
        assert read[each.name].per_minute == each.per_minute
        assert abs(read[each.name].duration_s - each.duration_s) < 1e-6
        assert read[each.name].trigger == each.trigger
