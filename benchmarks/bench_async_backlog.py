"""Accepting and claiming behind a backlog, beside the same with nothing waiting: two queues, interleaved.

Called by `bench_async`. Measures the queue itself and not the HTTP API, which would fill a million rows for an hour.
"""

import asyncio
import contextlib
import tempfile
import time
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import click
import uvloop

from benchmarks.postgresql import postgresql
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
    ratios: dict[str, list[float]] = {ACCEPTING: [], CLAIMING: []}
    async with _opened(kind) as behind, _opened(kind) as empty:
        began = time.perf_counter()
        for start in range(0, rows, FILL_AT_ONCE):
            await behind.enqueue([_new() for _ in range(min(FILL_AT_ONCE, rows - start))])
        click.echo(f"  {rows:,} rows accepted in {time.perf_counter() - began:.0f} s")
        for number in range(rounds + 1):
            rates = {}
            for queue in (behind, empty) if number % 2 else (empty, behind):
                rates[queue] = (await _accept(queue), await _claim(queue))
            if number:
                ratios[ACCEPTING].append(rates[behind][0] / rates[empty][0])
                ratios[CLAIMING].append(rates[behind][1] / rates[empty][1])
    return ratios


async def _accept(queue: InvocationQueue) -> float:
    """Rows a second, of so many callers at once, each of which waits for its commit."""

    async def call() -> None:
        for _ in range(CALLS_EACH):
            await queue.enqueue([_new()])

    start = time.perf_counter()
    await asyncio.gather(*(call() for _ in range(CALLERS)))
    return CALLERS * CALLS_EACH / (time.perf_counter() - start)


async def _claim(queue: InvocationQueue) -> float:
    """Rows a second; as many as were accepted, which are then recorded, so that the backlog keeps its size."""
    leases: list[Leased] = []
    start = time.perf_counter()
    while len(leases) < CALLERS * CALLS_EACH:
        claimed = await queue.claim(min(CLAIM, CALLERS * CALLS_EACH - len(leases)))
        if not claimed:
            raise click.ClickException(f"nothing was claimed after {len(leases)} rows, though more are due")
        leases += claimed
    rate = len(leases) / (time.perf_counter() - start)
    now = time.time()
    ending = Ending(state=State.SUCCEEDED, started_at=now, ended_at=now)
    await asyncio.gather(*(queue.finish(lease, ending, ()) for lease in leases))
    return rate


def _new() -> NewInvocation:
    now, name = time.time(), str(uuid.uuid4())
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
