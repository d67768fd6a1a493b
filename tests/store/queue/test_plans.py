"""No statement of the queue looks through its rows, however many wait: what each of them does is one range of an index.

Run by pytest, on every database. Asks the databases how they would run what the queue really sends.
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import pytest
import sqlalchemy as sa
from tests.store.queue.conftest import Opener
from tests.support.fakes import FakeClocks
from tests.support.invocations import TARGET, ended, new_invocation

from sesame.model.async_invocation import AsyncQuery, NewDelivery, NewInvocation, State
from sesame.store.queue.queue import InvocationQueue
from sesame.store.sql import prepared
from sesame.store.sql.database import Database
from sesame.store.sql.driver import SQLITE, Executed, execute
from sesame.store.sql.queue_schema import invocations

BACKLOG = 20_000
AT_ONCE = 2_000
Sent = tuple[str, Any]


@contextmanager
def sent() -> Iterator[list[Sent]]:
    """Gathers the statements about the queue's tables, each with the parameters of its first row."""
    found: list[Sent] = []

    def gather(_connection: Any, _cursor: Any, statement: str, parameters: Any, _context: Any, many: bool) -> None:
        if "async_" in statement and "INSERT" not in statement:
            found.append((statement, parameters[0] if many else parameters))

    def executed(connection: sa.Connection, sql: str, parameters: tuple[Any, ...]) -> Executed:
        if connection.dialect.name == SQLITE:
            gather(None, None, sql, parameters, None, False)
        return execute(connection, sql, parameters)

    sa.event.listen(sa.Engine, "before_cursor_execute", gather)
    try:
        with patch.object(prepared, "execute", executed):
            yield found
    finally:
        sa.event.remove(sa.Engine, "before_cursor_execute", gather)


async def fill(queue: InvocationQueue, clocks: FakeClocks, database: Database, delay_s: float) -> None:
    """With invocations that wait, and others that have ended."""
    for start in range(0, BACKLOG, AT_ONCE):
        clocks.advance(1)
        news = [
            new_invocation(clocks, stateful=number % 2 == 0, not_before=clocks.wall() + delay_s)
            for number in range(start, start + AT_ONCE)
        ]
        assert all(await queue.enqueue(news))

    def end_half(connection: sa.Connection) -> None:
        ended_ones = sa.update(invocations).where(invocations.c.seq % 4 < 2)
        connection.execute(ended_ones.values(state="Succeeded", due_at=None, ended_at=clocks.wall()))

    await database.write(end_half)
    # PostgreSQL does so by itself, but not at once; SQLite never does, and must get along without.
    if "postgresql" in await database.read(lambda connection: connection.dialect.name):
        await database.write(lambda connection: connection.execute(sa.text("ANALYZE async_invocations")))


async def plan_of(database: Database, statement: str, parameters: Any) -> str:
    def explain(connection: sa.Connection) -> str:
        asks = "EXPLAIN QUERY PLAN" if connection.dialect.name == "sqlite" else "EXPLAIN"
        return "\n".join(str(tuple(row)) for row in connection.exec_driver_sql(f"{asks} {statement}", parameters))

    return await database.write(explain)


@pytest.mark.parametrize(
    "delay_s", [pytest.param(0.0, id="due"), pytest.param(86_400.0, id="later", marks=pytest.mark.thorough)]
)
async def test_no_statement_looks_through_the_rows(
    queue: InvocationQueue, clocks: FakeClocks, database: Database, open_queue: Opener, delay_s: float
) -> None:
    await fill(queue, clocks, database, delay_s)
    with sent() as statements:
        await everything(queue, clocks)
        await open_queue()
    kinds = {statement.split()[0] for statement, _ in statements}
    assert {"SELECT", "UPDATE", "DELETE", "WITH"} == kinds
    assert len({statement for statement, _ in statements}) > 20
    for statement, parameters in statements:
        plan = await plan_of(database, statement, parameters)
        assert "Seq Scan on async_i" not in plan, f"{statement}\n{plan}"
        assert "'SCAN async_i" not in plan, f"{statement}\n{plan}"


async def test_a_plan_that_is_made_while_there_are_few_rows_does_for_many(
    queue: InvocationQueue, clocks: FakeClocks, database: Database, open_queue: Opener
) -> None:
    """PostgreSQL keeps the plans of prepared statements while their tables grow."""
    with sent() as statements:
        await everything(queue, clocks)
        await open_queue()
    for statement, parameters in statements:
        if not statement.startswith("SELECT") or "FOR UPDATE" in statement:
            plan = await plan_of(database, statement, parameters)
            assert "Seq Scan on async_i" not in plan, f"{statement}\n{plan}"
            assert "Hash Join" not in plan, f"{statement}\n{plan}"


async def everything(queue: InvocationQueue, clocks: FakeClocks) -> None:
    """Every statement that the queue has, but to look for an id that is none of a caller's."""
    await queue.enqueue([new_invocation(clocks, not_before=0.0) for _ in range(10)])
    leases = await queue.claim(6)
    assert len(leases) == 6
    assert await queue.extend(leases[:2]) == [True, True]
    queue.started(leases[0], "c-1")
    clocks.advance(1)
    then: list[NewInvocation | NewDelivery] = [new_invocation(clocks)]
    then.append(NewDelivery(destination="https://a/", record=b"{}", condition="Success"))
    await asyncio.gather(
        queue.finish(leases[0], ended(clocks), then),
        queue.retry(leases[1], clocks.wall(), counted=True),
        queue.release([leases[2]]),
    )
    for lease in leases[3:]:
        if lease.stateful:
            await queue.stop(lease.target, lease.invocation_id)
            await queue.get(lease.target, lease.invocation_id)
    for status in (None, State.ENQUEUED, State.FAILED):
        for target in (TARGET, None):
            page = await queue.page(AsyncQuery(target=target, status=status, stateful_only=target is not None))
            await queue.page(AsyncQuery(target=target, status=status, stateful_only=False, start=page.next_token or ""))
            since, until = clocks.wall() - 5, clocks.wall()
            times = AsyncQuery(target=TARGET, status=status, started_from=since, started_to=until, newest_first=False)
            await queue.page(times)
    await queue.page(AsyncQuery(target=TARGET, id_prefix=leases[0].invocation_id[:-1]))
    await queue.functions(("", "", ""), 10)
    await queue.prune(clocks.wall() - 5)
    (delivery,) = await queue.deliveries.claim(2)
    await queue.deliveries.bury(delivery, "no")
    await queue.deliveries.dead_letters("", 5)
    await queue.deliveries.prune(clocks.wall() - 5, 1)
