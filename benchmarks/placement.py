"""Placement at size: decisions per second of processor time, how long one takes, and how even the load is.

Run by `make bench-placement`; needs no server and no second machine, as the real decisions run in virtual time over
stubs (`benchmarks.cluster`). `--plot` draws what docs/scale.md shows. Processor time is counted, not time of day, so
that other work on the machine changes little.
"""

import gc
import random
import statistics
import sys
import time
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import click
import msgspec

from benchmarks.cluster import MINUTE_S, Cluster, Counts
from benchmarks.trace.azure2019 import Function
from benchmarks.trace.generator import generate_minutes
from sesame.model.function import Function as FunctionRecord
from sesame.model.function import Package
from sesame.model.records import FUNCTION, Record
from sesame.placement.homes import Homes

SEED = 2019
# What is to hold: decisions a second on one core, the 99th percentile of one, and the load of a node beside even.
RATE_MIN, P99_MS_MAX, UNEVEN_MAX = 2500, 5.0, 0.10
# Nodes of three sizes, in turn.
MEMORY_MB = (16 * 1024, 24 * 1024, 32 * 1024)
SAMPLE_S = 10.0


class Sample(msgspec.Struct, frozen=True):
    """Of one moment: the loads of nodes beside even, the least, the first percentile, and so on."""

    at: float
    least: float
    p1: float
    p99: float
    most: float


class Found(msgspec.Struct):
    """`uneven` is how far from even the furthest node was on the average of the time that was measured."""

    samples: list[Sample]
    decision_ns: list[int]
    placed: int
    processor_s: float
    uneven: float
    homes_decided: list[int]
    # Milliseconds of processor time to find the home of a function that was not asked for before.
    found_home_ms: float


def calls_of(functions: list[Function], minutes: range, seed: int) -> Iterator[tuple[float, int]]:
    """The calls of a minute come at even distances, from where in it each function has its first one by chance."""
    chance = random.Random(seed)
    phases = [chance.random() for _ in functions]
    for minute in minutes:
        of_minute = [
            ((minute + (each + phases[number]) / count) * MINUTE_S, number)
            for number, function in enumerate(functions)
            if (count := function.per_minute[minute])
            for each in range(count)
        ]
        of_minute.sort()
        yield from of_minute


def run(cluster: Cluster, functions: list[Function], minutes: range, warm: int, failing: int) -> Found:
    """Measures after `warm` minutes. Of the nodes `failing` fail two minutes later, and come back after four more."""
    found = Found([], [], 0, 0.0, 0.0, [], 0.0)
    calls = calls_of(functions, minutes, SEED)
    sums: dict[str, list[float]] = {}
    due: list[tuple[float, int]] = []
    failed: list[tuple[str, int]] = []
    first = next(calls, None)
    began = 0.0
    for step in range(int(len(minutes) * MINUTE_S / SAMPLE_S)):
        at, end = step * SAMPLE_S, (step + 1) * SAMPLE_S
        if at == warm * MINUTE_S:
            cluster.measure = True
            cluster.counts = Counts()
            began = time.process_time()
            for agent in cluster.agents.values():
                agent.decided = 0
        if at == (warm + 2) * MINUTE_S:
            for name in sorted(cluster.agents)[:failing]:
                member = cluster.agents[name].member
                failed.append((member.place, member.memory_mb))
                cluster.fail(name)
        if at == (warm + 6) * MINUTE_S:
            for place, memory_mb in failed:
                cluster.come(place, memory_mb)
        due = []
        while first is not None and first[0] < end:
            due.append(first)
            first = next(calls, None)
        cluster.run_until(end, iter(due))
        loads = cluster.loads()
        for name, load in zip(cluster.agents, loads, strict=True):
            if cluster.measure:
                sums.setdefault(name, []).append(load)
        loads.sort()
        share = len(loads) // 100
        found.samples.append(Sample(end, loads[0], loads[share], loads[-1 - share], loads[-1]))
    found.processor_s = time.process_time() - began
    found.placed = cluster.counts.placed()
    found.decision_ns = sorted(cluster.decision_ns)
    whole = max(map(len, sums.values()))
    found.uneven = max(abs(statistics.fmean(each) - 1) for each in sums.values() if len(each) == whole)
    found.found_home_ms = home_ms(cluster)
    found.homes_decided = sorted(agent.decided for agent in cluster.agents.values())
    return found


def home_ms(cluster: Cluster, count: int = 100) -> float:
    homes = Homes(cluster.members)
    began = time.process_time()
    for number in range(count):
        homes.home(f"unknown/{number}")
    return (time.process_time() - began) / count * 1e3


def record_bytes(count: int = 10_000) -> float:
    """What a function with three variables takes of the memory of each agent, which has the whole catalog."""

    def record(number: int) -> Record:
        function = FunctionRecord(
            function_name=f"function-{number}",
            function_id=f"{number:036d}",
            runtime="python3.10",
            handler="index.handler",
            package=Package(sha256=f"{number:064x}", checksum=f"{number:020d}", size_bytes=number),
            environment_variables={"TABLE": f"table-{number}", "BUCKET": f"bucket-{number}", "STAGE": f"{number}"},
        )
        read = msgspec.json.decode(msgspec.json.encode(function), type=FunctionRecord)
        return Record(
            FUNCTION, f"service-{number % 100}", read.function_name, read, f"{number:032x}", 0.5 * number, 1.5
        )

    tracemalloc.start()
    records = {number: record(number) for number in range(count)}
    taken = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    return taken / len(records)


@click.command()
@click.option("--nodes", default=1000, show_default=True)
@click.option("--functions", default=100_000, show_default=True)
@click.option("--minutes", default=30, show_default=True)
@click.option("--warm", default=15, show_default=True, help="Minutes before anything is measured.")
@click.option("--failing", default=0, show_default=True, help="Nodes that fail while it is measured, and come back.")
@click.option("--seed", default=SEED, show_default=True)
@click.option("--plot", type=click.Path(dir_okay=False, path_type=Path))
def main(nodes: int, functions: int, minutes: int, warm: int, failing: int, seed: int, plot: Path | None) -> None:
    # One process has here what a thousand have: to look through all of it for cycles would be counted with decisions.
    gc.disable()
    called = generate_minutes(functions, minutes, seed)
    memory_mb = [MEMORY_MB[number % len(MEMORY_MB)] for number in range(nodes)]
    cluster = Cluster(called, memory_mb, seed)
    found = run(cluster, called, range(minutes), warm, failing)
    counts, decision = cluster.counts, found.decision_ns
    rate, p99_ms = len(decision) / (sum(decision) / 1e9), decision[len(decision) * 99 // 100] / 1e6
    after = [each for each in found.samples if each.at > warm * MINUTE_S]
    print(f"{nodes} nodes, {functions:,} functions, {minutes} minutes, measured after {warm}: {counts}")
    print(
        f"placements: {found.placed:,}, {found.placed / ((minutes - warm) * MINUTE_S):,.0f} a second of the trace; "
        f"{rate:,.0f} a second of processor time in decisions, "
        f"{found.placed / found.processor_s:,.0f} of the whole simulation's"
    )
    print(
        f"a decision: median {decision[len(decision) // 2] / 1e3:.0f} µs, p99 {p99_ms * 1e3:.0f} µs, "
        f"p99.9 {decision[len(decision) * 999 // 1000] / 1e3:.0f} µs, most {decision[-1] / 1e6:.2f} ms"
    )
    print(
        f"memory in use at the end: {cluster.filled():.0%}; load beside even: of {minutes - warm} minutes' mean, "
        f"{found.uneven:.1%} at the furthest node; at moments "
        f"{min(each.least for each in after):.2f} to {max(each.most for each in after):.2f}, 98 % of nodes within "
        f"{min(each.p1 for each in after):.2f} to {max(each.p99 for each in after):.2f}"
    )
    decided = found.homes_decided
    print(f"decisions of a home: mean {statistics.fmean(decided):,.0f}, most {decided[-1]:,}")
    print(
        f"to find a home for the first time: {found.found_home_ms:.2f} ms; "
        f"a function's record in the memory of each agent: {record_bytes():,.0f} bytes"
    )
    if plot is not None:
        draw(plot, found, warm)
    if rate < RATE_MIN or p99_ms > P99_MS_MAX or found.uneven > UNEVEN_MAX:
        sys.exit(f"expected {RATE_MIN} a second, a p99 of {P99_MS_MAX} ms and loads within {UNEVEN_MAX:.0%} of even")


def draw(path: Path, found: Found, warm: int) -> None:
    """The loads of nodes over time, and how long decisions take."""
    import matplotlib as mpl

    # The same picture gives the same file.
    mpl.rcParams["svg.hashsalt"] = "sesame"
    mpl.use("svg")
    from matplotlib import pyplot

    figure, (left, right) = pyplot.subplots(1, 2, figsize=(9, 3.6))
    minutes = [each.at / MINUTE_S for each in found.samples]
    for low, high, label, alpha in (("least", "most", "all nodes", 0.25), ("p1", "p99", "98 % of nodes", 0.5)):
        lows, highs = ([getattr(each, name) for each in found.samples] for name in (low, high))
        left.fill_between(minutes, lows, highs, alpha=alpha, color="tab:blue", label=label, linewidth=0)
    left.axvline(warm, color="tab:gray", linewidth=0.8)
    left.set(xlabel="minutes", ylabel="load of a node / even", ylim=(0.5, 1.5))
    left.legend()
    shares = [share / 1000 for share in range(1, 1000)]
    decided = [found.decision_ns[int(len(found.decision_ns) * share)] / 1e3 for share in shares]
    right.plot(decided, shares, color="tab:orange")
    right.set(xlabel="processor time of a decision, µs", ylabel="share of decisions", xscale="log", ylim=(0, 1))
    for axes in (left, right):
        axes.grid(alpha=0.3)
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})


if __name__ == "__main__":
    main()
