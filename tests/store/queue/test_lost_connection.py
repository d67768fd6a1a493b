"""A queue whose database goes away and comes back: callers are told, nothing is half done, and the work goes on.

Run by pytest, on PostgreSQL: SQLite has no connection to lose.
"""

import asyncio
import contextlib

from tests.support.fakes import FakeClocks
from tests.support.invocations import ended, new_invocation
from tests.support.postgresql import Server

from sesame.model.errors import PlatformError
from sesame.store.queue.leases import LEASE_S
from sesame.store.queue.queue import InvocationQueue
from sesame.store.sql.database import Database

END_CONNECTIONS = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = '{}'"


async def test_goes_on_when_the_database_is_back(
    postgresql_url: str, postgresql_server: Server, clocks: FakeClocks
) -> None:
    name = postgresql_url.rsplit("/", 1)[1]
    database = Database(postgresql_url)
    await database.open()
    queue = InvocationQueue(database, clocks)
    await queue.open()
    woken = asyncio.Event()
    queue.on_work(woken.set)
    first, second = new_invocation(clocks), new_invocation(clocks)
    assert await queue.enqueue([first, second]) == [True, True]
    (lease,) = await queue.claim(1)
    woken.clear()
    postgresql_server.sql(END_CONNECTIONS.format(name))
    answers: list[bool | None] = []
    for _ in range(2):
        try:
            answers.append(await queue.finish(lease, ended(clocks)))
        except PlatformError:
            answers.append(None)
    assert answers[-1] is True, "the lease is still held, and was not answered before"
    await woken.wait()
    assert [lease.invocation_id for lease in await queue.claim(5)] == [second.invocation_id]
    postgresql_server.sql(END_CONNECTIONS.format(name))
    with contextlib.suppress(PlatformError):
        # Perhaps committed, perhaps not, and perhaps on a new connection already.
        await queue.claim(1)
    clocks.advance(LEASE_S + 1)
    (lease,) = await queue.claim(5)
    assert lease.invocation_id == second.invocation_id
    await queue.close()
    await database.close()
