"""What the benchmarks conclude from ratios: the interval of a median, and when a limit is exceeded beyond doubt.

And that the benchmark of the queue runs, at a size that measures nothing; and what the simulated cluster must hold.
"""

from pathlib import Path

import pytest
from benchmarks import bench_async_backlog, keep_alive, placement
from benchmarks.cluster import ASK_AGAIN_S, BOUNDS, Cluster
from benchmarks.ratios import interval, over, spread, under
from benchmarks.trace import azure2019
from benchmarks.trace.generator import generate, generate_minutes

from sesame.engine.keep_alive import KeepAlive
from sesame.placement.credits import HOLD_S, MEMBERSHIP_S

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


def simulated(failing: int) -> tuple[Cluster, placement.Found]:
    functions = generate_minutes(500, 10, placement.SEED)
    cluster = Cluster(functions, [16 * 1024] * 6, placement.SEED)
    return cluster, placement.run(cluster, functions, range(10), 3, failing)


def test_a_simulated_cluster_is_loaded_evenly_and_by_the_same_seed_the_same() -> None:
    (cluster, found), (again, _found) = simulated(0), simulated(0)
    assert found.uneven < placement.UNEVEN_MAX
    assert (cluster.counts.lost, cluster.counts.placed() > 3000) == (0, True)
    assert (cluster.counts, cluster.instances()) == (again.counts, again.instances())


def test_calls_of_a_simulated_cluster_go_on_while_nodes_fail_and_come_back() -> None:
    cluster, _found = simulated(1)
    counts = cluster.counts
    assert counts.lost > 0
    # Calls for which a home was lost wait for the next one and, without an idle instance, for credits that are lost.
    assert 0 < counts.longest_wait_s < MEMBERSHIP_S + HOLD_S + 2 * ASK_AGAIN_S
    assert max(cluster.instances().values()) <= BOUNDS.function
    assert len(cluster.agents) == 6
