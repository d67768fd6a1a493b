"""The depth of the queue: what has not ended, by state, the age of what waits, records and dead letters.

Run by pytest, on every database.
"""

import itertools

from tests.support.fakes import FakeClocks, ReadFrom
from tests.support.invocations import ended, new_invocation

from sesame.model.async_invocation import NewDelivery, State
from sesame.store.queue.queue import InvocationQueue
from sesame.store.sql.database import Database

NONE = {"Enqueued": 0, "Dequeued": 0, "Running": 0, "Retrying": 0, "Stopping": 0}


async def test_an_empty_queue_has_no_depth_and_no_age(queue: InvocationQueue) -> None:
    depth = await queue.depth()
    assert (depth.invocations, depth.oldest_age_s, depth.deliveries, depth.dead_letters) == (NONE, 0.0, 0, 0)


async def test_an_empty_queue_has_no_age_while_time_passes(database: Database) -> None:
    ticks = itertools.count(1.0)
    queue = InvocationQueue(database, ReadFrom(lambda: next(ticks)))
    await queue.open()
    assert (await queue.depth()).oldest_age_s == 0.0
    await queue.close()


async def test_the_depth_counts_what_has_not_ended_and_how_old_what_waits_is(
    queue: InvocationQueue, clocks: FakeClocks
) -> None:
    await queue.enqueue([new_invocation(clocks) for _ in range(3)])
    clocks.advance(10)
    await queue.enqueue([new_invocation(clocks)])
    first, second, third = await queue.claim(3)
    await queue.finish(first, ended(clocks), [])
    await queue.retry(second, clocks.wall() + 60, counted=True)
    clocks.advance(5)
    depth = await queue.depth()
    assert depth.invocations == NONE | {"Enqueued": 1, "Retrying": 1, "Dequeued": 1}
    # Of the one that waits for its next attempt: it was accepted first.
    assert depth.oldest_age_s == 15
    await queue.finish(third, ended(clocks, State.FAILED), [])


async def test_the_depth_counts_records_and_dead_letters(queue: InvocationQueue, clocks: FakeClocks) -> None:
    await queue.enqueue([new_invocation(clocks)])
    (lease,) = await queue.claim(1)
    records = [NewDelivery(destination=url, record=b"{}", condition="Success") for url in ("https://a/", "https://b/")]
    await queue.finish(lease, ended(clocks), records)
    assert (await queue.depth()).deliveries == 2
    delivery, _other = await queue.deliveries.claim(2)
    await queue.deliveries.bury(delivery, "no")
    depth = await queue.depth()
    assert (depth.deliveries, depth.dead_letters) == (1, 1)
