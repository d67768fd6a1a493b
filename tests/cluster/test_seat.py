"""A candidate on its way to the leadership, and what ends it: on a real PostgreSQL.

Run by pytest. Waits for conditions, as a row is renewed each second.
"""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack

import pytest
from tests.support.postgresql import Server

from sesame.cluster.seat import Seat, holder_of_writer
from sesame.model.clocks import SystemClocks
from sesame.store.sql.leadership import Leadership

PATIENCE_S = 60.0


@pytest.fixture
def database(postgresql_server: Server) -> Iterator[str]:
    name = postgresql_server.create()
    yield name
    postgresql_server.drop(name)


class Process:
    """A candidate's process, as far as its seat goes."""

    def __init__(self, url: str, node: str) -> None:
        self.seat = Seat(lambda: Leadership(url, node), node, f"{node}:9011", SystemClocks())
        self.why: list[str] = []
        self.over = threading.Event()
        self.until: list[float] = []

    async def leads(self) -> None:
        async with asyncio.timeout(PATIENCE_S):
            await self.seat.wait(self._end, self.until.append)

    def _end(self, why: str) -> None:
        self.why.append(why)
        self.over.set()


@pytest.fixture
async def process(postgresql_server: Server, database: str) -> AsyncIterator[Callable[[str], Process]]:
    async with AsyncExitStack() as stack:

        def made(node: str) -> Process:
            process = Process(postgresql_server.url(database), node)
            stack.push_async_callback(process.seat.leave)
            return process

        yield made


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not condition():  # noqa: ASYNC110 - a thread, or the server, changes it
            await asyncio.sleep(0.02)


async def test_it_is_renewed_by_a_thread_and_given_back_in_the_end(process: Callable[[str], Process]) -> None:
    first, second = process("a"), process("b")
    await first.leads()
    assert (first.seat.epoch, first.seat.leads(), first.seat.inherited) == (1, True, [])
    await until(lambda: len(set(first.until)) > 2)
    waiting = asyncio.ensure_future(second.leads())
    await until(lambda: len(set(first.until)) > 4)
    assert not waiting.done(), "the row changes"
    await first.seat.leave()
    assert first.until[-1] == 0.0, "the supervisor need not end it any more"
    await waiting
    assert (second.seat.epoch, second.seat.inherited) == (2, [])
    assert not first.why


async def test_one_that_finds_a_newer_epoch_ends(
    process: Callable[[str], Process], postgresql_server: Server, database: str
) -> None:
    first = process("a")
    await first.leads()
    postgresql_server.sql("UPDATE cluster_leadership SET epoch = 7, node = 'b'", database)
    await until(first.over.is_set)
    assert "epoch 1 is over" in first.why[0]


async def test_one_that_is_killed_is_inherited_by_another_node_and_led_again_by_its_own(
    process: Callable[[str], Process], postgresql_server: Server, database: str
) -> None:
    first = process("a")
    await first.leads()
    again = process("a")
    await again.leads()
    assert again.seat.epoch == 2, "its supervisor has ended the one before"
    # Nobody renews it any more, and its time is that of a clock which was ahead.
    postgresql_server.sql("UPDATE cluster_leadership SET epoch = 3, renewed_at = renewed_at + 3600", database)
    other = process("b")
    await other.leads()
    assert (other.seat.epoch, other.seat.inherited) == (4, [holder_of_writer("a")])
