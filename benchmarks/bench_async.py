"""Asynchronous calls: Sesame beside huey on SQLite and pgqueuer on PostgreSQL, interleaved, as ratios; and what they
cost when idle, behind a backlog, and beside synchronous calls.

Run by `make bench-async`, which passes on every argument. Fails when a figure misses its target beyond doubt. Never
compares figures of different rounds: each ratio is of two neighbours in time.
"""

import contextlib
import statistics
import time
from collections.abc import Iterator
from typing import Protocol

import click
import msgspec

from benchmarks import bench_async_backlog, bench_async_peers, bench_async_sesame
from benchmarks.bench_async_sesame import SesameLane
from benchmarks.postgresql import postgresql
from benchmarks.ratios import spread, under

SQLITE, POSTGRESQL = "sqlite", "postgresql"
PARTS = ("peers", "latency", "backlog", "beside")
# Targets: at least so many times the peer's throughput; at most so many milliseconds; at least these ratios.
TIMES_THE_PEER = {SQLITE: 5.0, POSTGRESQL: 1.0}
STARTED_WITHIN_MS = 5.0
BEHIND_A_BACKLOG = 1 / 1.2
BESIDE_A_QUEUE = 0.8
CALLERS = 16
WARM_UP_S = 0.5
PAUSE_S = 0.2
# The queue is filled in slices of one second, whose calls come due in the same second, after the last is accepted.
SLICES, DUE_AFTER_S = 3, 5
BUSY_S = 1.0


class Lane(Protocol):
    name: str

    def measure(self, callers: int, seconds: float) -> float:
        """Calls a second, accepted, run and recorded."""


@click.command()
@click.option("--database", type=click.Choice([SQLITE, POSTGRESQL, "both"]), default="both", show_default=True)
@click.option("--part", "parts", type=click.Choice(PARTS), multiple=True, help="Measure only this; may be repeated.")
@click.option("--rounds", default=7, show_default=True, help="Interleaved rounds of each comparison.")
@click.option("--seconds", default=3.0, show_default=True, help="For how long a lane accepts calls in one round.")
@click.option("--calls", default=300, show_default=True, help="Calls on an idle Sesame, for the latency.")
@click.option("--rows", default=1_000_000, show_default=True, help="Rows of the backlog.")
@click.option("--runtime", default="python3.10", show_default=True)
@click.option("--sandbox", default="auto", show_default=True, help="Sandbox driver of the Sesame under test.")
def main(
    database: str,
    parts: tuple[str, ...],
    rounds: int,
    seconds: float,
    calls: int,
    rows: int,
    runtime: str,
    sandbox: str,
) -> None:
    missed: list[str] = []
    sizes = Sizes(rounds, seconds, calls, rows)
    for kind in (SQLITE, POSTGRESQL) if database == "both" else (database,):
        wanted = parts or PARTS
        if "backlog" in wanted:
            missed += [f"{kind}: {what}" for what in behind_a_backlog(kind, sizes)]
        if set(wanted) - {"backlog"}:
            with sesame_on(kind, sandbox, runtime) as ours:
                for part in wanted:
                    missed += [f"{kind}: {what}" for what in measured(part, ours, kind, sizes)]
    if missed:
        raise click.ClickException("; ".join(missed))


class Sizes(msgspec.Struct, frozen=True):
    rounds: int
    seconds: float
    calls: int
    rows: int


@contextlib.contextmanager
def sesame_on(kind: str, sandbox: str, runtime: str) -> Iterator[SesameLane]:
    with contextlib.ExitStack() as stack:
        database = ("--database", stack.enter_context(postgresql("sesame"))) if kind == POSTGRESQL else ()
        name = f"sesame ({kind}, {sandbox}, {runtime})"
        yield stack.enter_context(bench_async_sesame.sesame(name, "--sandbox", sandbox, *database, runtime=runtime))


def measured(part: str, ours: SesameLane, kind: str, sizes: Sizes) -> list[str]:
    """Prints the figures of one part, and gives what misses its target."""
    if part == "peers":
        return beside_peers(ours, kind, sizes)
    if part == "latency":
        return when_idle(ours, sizes.calls)
    return beside_a_queue(ours, sizes) if part == "beside" else []


def beside_peers(ours: SesameLane, kind: str, sizes: Sizes) -> list[str]:
    """Accept, run and record hello world; each peer as it starts by default, and with more at once."""
    with peers(kind) as others:
        lanes: list[Lane] = [ours, *others]
        figures: dict[str, list[float]] = {lane.name: [] for lane in lanes}
        for number in range(sizes.rounds):
            for lane in lanes if number % 2 else lanes[::-1]:
                if not number:
                    lane.measure(CALLERS, WARM_UP_S)
                figures[lane.name].append(lane.measure(CALLERS, sizes.seconds))
                time.sleep(PAUSE_S)
        ours.check()
    click.echo(f"accepted, run and recorded, {CALLERS} callers, {kind}:")
    missed, target = [], TIMES_THE_PEER[kind]
    for lane in lanes:
        click.echo(f"  {lane.name:<40} {statistics.median(figures[lane.name]):>8.0f} calls/s")
    for lane in others:
        ratios = [a / b for a, b in zip(figures[ours.name], figures[lane.name], strict=True)]
        click.echo(f"  throughput / {lane.name}: {spread(ratios)}, wanted {target}")
        if under(ratios, target):
            missed.append(f"less than {target} × {lane.name}")
    return missed


@contextlib.contextmanager
def peers(kind: str) -> Iterator[list[Lane]]:
    with contextlib.ExitStack() as stack:
        if kind == SQLITE:
            yield [stack.enter_context(bench_async_peers.huey(workers)) for workers in (1, 4)]
        else:
            # Each with a cluster of its own: one peer's vacuum must not fall into another's time.
            yield [
                stack.enter_context(bench_async_peers.pgqueuer(stack.enter_context(postgresql()), batch))
                for batch in (10, 100)
            ]


def when_idle(ours: SesameLane, calls: int) -> list[str]:
    latencies = ours.latencies(calls)
    click.echo(f"idle, {calls} calls one by one, {ours.name}:")
    click.echo(latencies.line() + f", wanted at most {STARTED_WITHIN_MS} ms")
    # Missed only where even the later of the two moments lies too far back.
    late = statistics.median(latencies.from_answer) > STARTED_WITHIN_MS
    return [f"the handler starts more than {STARTED_WITHIN_MS} ms after the commit"] if late else []


def behind_a_backlog(kind: str, sizes: Sizes) -> list[str]:
    click.echo(f"the queue alone, {sizes.rows:,} rows waiting beside none, {kind}:")
    missed = []
    for what, ratios in bench_async_backlog.measure(kind, sizes.rows, sizes.rounds).items():
        click.echo(f"  {what}, rate with / without a backlog: {spread(ratios)}, wanted {BEHIND_A_BACKLOG:.2f}")
        if under(ratios, BEHIND_A_BACKLOG):
            missed.append(f"{what} is more than 20 % slower behind a backlog")
    return missed


def beside_a_queue(ours: SesameLane, sizes: Sizes) -> list[str]:
    """Synchronous calls while the queue is worked off, and while it is empty."""
    ratios: list[float] = []
    ours.synchronous(CALLERS, WARM_UP_S)
    while len(ratios) < sizes.rounds:
        alone = ours.synchronous(CALLERS, sizes.seconds)
        start = time.monotonic()
        for number in range(SLICES):
            ours.accept(CALLERS, 1.0, delay_s=DUE_AFTER_S - number)
        time.sleep(max(0.0, start + DUE_AFTER_S + 1.0 - time.monotonic()))
        busy = ours.synchronous(CALLERS, min(sizes.seconds, BUSY_S))
        if not ours.under_way():
            raise click.ClickException(f"the queue was empty before a round ended; it takes more than {SLICES} slices")
        ours.wait_until_recorded()
        ratios.append(busy / alone)
    click.echo(f"synchronous calls, {CALLERS} callers, {ours.name}:")
    click.echo(f"  throughput beside a busy queue / without: {spread(ratios)}, wanted {BESIDE_A_QUEUE}")
    return [f"less than {BESIDE_A_QUEUE} × beside a busy queue"] if under(ratios, BESIDE_A_QUEUE) else []


if __name__ == "__main__":
    main()
