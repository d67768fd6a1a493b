"""Accepting and claiming behind a backlog, beside the same with nothing waiting: two queues, interleaved.

Called by `bench_async`. Measures the queue itself and not the HTTP API, which would fill a million rows for an hour.
"""

import asyncio
import contextlib
import statistics
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path

import click
import msgspec
import uvloop

from benchmarks.postgresql import postgresql
from sesame.fc.headers import new_request_id
from sesame.model.async_invocation import Ending, Leased, NewInvocation, State
from sesame.model.clocks import SystemClocks
from sesame.model.invocation import Target
from sesame.store.queue.queue import InvocationQueue
from sesame.store.sql.database import Database

CALLERS = 16
CALLS_EACH = 50
CLAIM = 32
FILL_AT_ONCE = 1000
DAY_S = 86_400.0
TARGET = Target("bench", "LATEST", "hello")
ACCEPTING, CLAIMING = "accepting", "claiming"


def measure(kind: str, rows: int, rounds: int) -> dict[str, list[float]]:
    """For accepting and for claiming the ratios of rates, with `rows` waiting to without; one for each round."""
    return uvloop.run(_measure(kind, rows, rounds))


async def _measure(kind: str, rows: int, rounds: int) -> dict[str, list[float]]:
    async with _opened(kind) as behind, _opened(kind) as empty:
        began = time.perf_counter()
        for start in range(0, rows, FILL_AT_ONCE):
            await behind.enqueue([_new() for _ in range(min(FILL_AT_ONCE, rows - start))])
        click.echo(f"  {rows:,} rows accepted in {time.perf_counter() - began:.0f} s")
        # The first round warms up.
        seen: dict[InvocationQueue, list[_Round]] = {behind: [], empty: []}
        for number in range(rounds + 1):
            for queue in (behind, empty) if number % 2 else (empty, behind):
                seen[queue].append(_Round(await _accept(queue), await _claim(queue)))
    pairs = list(zip(seen[behind][1:], seen[empty][1:], strict=True))
    for what, costs in (
        (ACCEPTING, [(one.accepting.cost_us, other.accepting.cost_us) for one, other in pairs]),
        (CLAIMING, [(one.claiming.cost_us, other.claiming.cost_us) for one, other in pairs]),
    ):
        with_backlog, without = (statistics.median(values) for values in zip(*costs, strict=True))
        click.echo(
            f"  {what}, processor time of this process for each row: {with_backlog:.0f} µs, "
            f"without a backlog {without:.0f} µs ({with_backlog / without:.2f} ×)"
        )
    return {
        ACCEPTING: [one.accepting.per_second / other.accepting.per_second for one, other in pairs],
        CLAIMING: [one.claiming.per_second / other.claiming.per_second for one, other in pairs],
    }


class _Seen(msgspec.Struct, frozen=True):
    """Rows a second, and microseconds of processor time for each."""

    per_second: float
    cost_us: float


class _Round(msgspec.Struct, frozen=True):
    accepting: _Seen
    claiming: _Seen


async def _accept(queue: InvocationQueue) -> _Seen:
    """Of so many callers at once, each of which waits for its commit."""

    async def call() -> None:
        for _ in range(CALLS_EACH):
            await queue.enqueue([_new()])

    start, used = time.perf_counter(), time.process_time()
    await asyncio.gather(*(call() for _ in range(CALLERS)))
    return _seen(CALLERS * CALLS_EACH, start, used)


async def _claim(queue: InvocationQueue) -> _Seen:
    """As many as were accepted, which are then recorded, so that the backlog keeps its size."""
    leases: list[Leased] = []
    start, used = time.perf_counter(), time.process_time()
    while len(leases) < CALLERS * CALLS_EACH:
        claimed = await queue.claim(min(CLAIM, CALLERS * CALLS_EACH - len(leases)))
        if not claimed:
            raise click.ClickException(f"nothing was claimed after {len(leases)} rows, though more are due")
        leases += claimed
    seen = _seen(len(leases), start, used)
    now = time.time()
    ending = Ending(state=State.SUCCEEDED, started_at=now, ended_at=now)
    await asyncio.gather(*(queue.finish(lease, ending, ()) for lease in leases))
    return seen


def _seen(rows: int, start: float, used: float) -> _Seen:
    return _Seen(rows / (time.perf_counter() - start), (time.process_time() - used) / rows * 1e6)


def _new() -> NewInvocation:
    now, name = time.time(), new_request_id()
    return NewInvocation(
        target=TARGET, invocation_id=name, request_id=name, payload=b"{}", stateful=True, source="api",
        not_before=now, expires_at=now + DAY_S,
    )  # fmt: skip


@contextlib.asynccontextmanager
async def _opened(kind: str) -> AsyncIterator[InvocationQueue]:
    with contextlib.ExitStack() as stack:
        if kind == "postgresql":
            where: Path | str = stack.enter_context(postgresql())
        else:
            where = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="sesame-bench-"))) / "db"
        database = Database(where)
        await database.open()
        try:
            queue = InvocationQueue(database, SystemClocks(), "bench")
            await queue.open()
            yield queue
        finally:
            await database.close()
