"""Fixtures of the queues' tests: an open database, and a queue on it by a clock that tests move.

Read by pytest.
"""

from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from tests.support.fakes import FakeClocks

from sesame.store.queue.queue import InvocationQueue
from sesame.store.sql.database import Database

Opener = Callable[[], Awaitable[InvocationQueue]]


@pytest.fixture
def clocks() -> FakeClocks:
    return FakeClocks()


@pytest.fixture
def open_queue(database: Database, clocks: FakeClocks) -> Opener:
    """Opens another queue on the same database, as the process after the one that had it."""

    async def opened() -> InvocationQueue:
        queue = InvocationQueue(database, clocks)
        await queue.open()
        return queue

    return opened


@pytest.fixture
async def queue(open_queue: Opener) -> AsyncIterator[InvocationQueue]:
    queue = await open_queue()
    yield queue
    await queue.close()
