"""Who leads a cluster: one epoch at a time, and nothing is written in an older one. On a real PostgreSQL.

Run by pytest.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest
import sqlalchemy as sa
from tests.support.postgresql import Server

from sesame.model.errors import ConfigurationError, PlatformError
from sesame.store.logs.shared.index import SegmentIndex
from sesame.store.logs.shared.segment import Range, Segment
from sesame.store.sql import leadership as statements
from sesame.store.sql import postgresql
from sesame.store.sql.database import Database
from sesame.store.sql.leadership import Leadership, Seen
from sesame.store.sql.postgresql import PostgresqlBackend, epoch_of


@pytest.fixture
def url(postgresql_url: str) -> str:
    return postgresql_url


@pytest.fixture
def url_without_tables(postgresql_server: Server) -> Iterator[str]:
    name = postgresql_server.create("template0")
    yield postgresql_server.url(name)
    postgresql_server.drop(name)


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as stack:
        yield stack


async def opened(url: str, name: str, stack: AsyncExitStack) -> Leadership:
    leadership = Leadership(url, name)
    stack.push_async_callback(leadership.close)
    await leadership.open()
    return leadership


async def take(leadership: Leadership, node: str, seen: Seen | None = None) -> int:
    return await leadership.take(seen or await leadership.look(), node, f"{node}:9010", f"writer {node}")


async def write(database: Database, name: str) -> None:
    row = {"name": name, "value": 1}
    await database.write(
        lambda connection: connection.execute(sa.text("INSERT INTO counters VALUES (:name, :value)"), row)
    )


async def names(database: Database) -> set[str]:
    found = await database.read(lambda c: c.execute(sa.text("SELECT name FROM counters")).scalars().all())
    return set(found)


async def test_of_several_that_begin_at_once_one_leads(url_without_tables: str, stack: AsyncExitStack) -> None:
    all_of_them = await asyncio.gather(*(opened(url_without_tables, f"n{number}", stack) for number in range(4)))
    seen = await asyncio.gather(*(each.look() for each in all_of_them))
    assert {each.epoch for each in seen} == {0}
    taken = await asyncio.gather(
        *(each.take(seen[n], f"n{n}", f"n{n}:9010", f"w{n}") for n, each in enumerate(all_of_them))
    )
    assert sorted(taken) == [0, 0, 0, 1]
    leader = taken.index(1)
    row = await all_of_them[0].look()
    assert (row.epoch, row.node, row.address) == (1, f"n{leader}", f"n{leader}:9010")
    assert await all_of_them[0].holders() == [f"w{leader}"]


async def test_it_is_taken_where_it_was_not_renewed_or_by_its_own_node_or_after_the_leader_resigned(
    url: str, stack: AsyncExitStack
) -> None:
    a, b = await opened(url, "a", stack), await opened(url, "b", stack)
    assert await take(a, "a") == 1
    seen = await b.look()
    assert await a.renew(1)
    assert await take(b, "b", seen) == 0
    assert await take(b, "b") == 2
    assert not await a.renew(1)
    assert not await a.hold(1, "follower c")
    assert await b.hold(2, "follower c")
    assert await b.hold(2, "follower c"), "told twice"
    assert await b.holders() == ["follower c", "writer a", "writer b"]
    await a.release(1, "follower c")
    assert "follower c" in await b.holders(), "one that leads no more changes nothing"
    await a.ended("writer a")
    assert await take(b, "b") == 3
    await a.resign(2, "writer b")
    assert (await a.look()).node == "b", "one that leads no more changes nothing"
    await b.resign(3, "writer b")
    assert await a.holders() == ["follower c"]
    assert await take(a, "a") == 4


async def test_nothing_is_written_in_an_epoch_that_is_over(url: str, stack: AsyncExitStack) -> None:
    a, b = await opened(url, "a", stack), await opened(url, "b", stack)
    first = Database(url, "a", epoch=await take(a, "a"))
    stack.push_async_callback(first.close)
    await first.open()
    await write(first, "of the first")
    assert await take(b, "b") == 2
    await b.fence(2)
    second = Database(url, "b", epoch=2)
    stack.push_async_callback(second.close)
    await second.open()
    for _ in range(3):
        with pytest.raises(PlatformError):
            await write(first, "too late")
    with pytest.raises(PlatformError):
        await SegmentIndex(first, 1, time.time).add(Segment("too late", Range(1, 2), 0, 0, 1))
    await write(second, "of the second")
    assert await SegmentIndex(second, 2, time.time).newest() == []
    # Also where the second has lost its connection, and the lock with it.
    await second.close()
    with pytest.raises(PlatformError, match="epoch 2 of the cluster has begun"):
        await write(first, "too late")
    third = Database(url, "b", epoch=await take(b, "b"))
    stack.push_async_callback(third.close)
    await third.open()
    assert {"of the first", "of the second"} <= await names(third)
    assert "too late" not in await names(third)


async def test_a_writer_that_comes_back_before_the_next_one_has_the_lock_loses_it(
    url: str, stack: AsyncExitStack
) -> None:
    a, b = await opened(url, "a", stack), await opened(url, "b", stack)
    first = Database(url, "a", epoch=await take(a, "a"))
    stack.push_async_callback(first.close)
    await first.open()
    # Not fenced: as if it had connected again since.
    second = Database(url, "b", epoch=await take(b, "b"))
    stack.push_async_callback(second.close)
    await second.open()
    with pytest.raises(PlatformError):
        await write(first, "too late")
    await write(second, "of the second")


async def test_a_database_in_use_by_a_sesame_of_no_cluster_says_so(url: str, stack: AsyncExitStack) -> None:
    alone = Database(url, "/var/lib/sesame")
    stack.push_async_callback(alone.close)
    await alone.open()
    leadership = await opened(url, "a", stack)
    writer = Database(url, "a", epoch=await take(leadership, "a"))
    with pytest.raises(ConfigurationError, match="is in use by another process"):
        await writer.open()


async def test_who_is_named_in_an_epoch_is_seen_by_whoever_takes_the_next(
    url: str, stack: AsyncExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    a, b = await opened(url, "a", stack), await opened(url, "b", stack)
    assert await take(a, "a") == 1
    monkeypatch.setattr(statements, "ANSWERS_WITHIN_S", 60.0)
    raw = await asyncpg.connect(url)
    stack.callback(raw.terminate)
    # Has the next statement stand still in the midst.
    ahead = raw.transaction()
    await ahead.start()
    await raw.execute("INSERT INTO cluster_holders VALUES ('follower c')")
    holding = asyncio.ensure_future(a.hold(1, "follower c"))
    async with asyncio.timeout(60.0):
        while not await raw.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted"):
            await asyncio.wait({holding}, timeout=0.01)
    taking = asyncio.ensure_future(take(b, "b"))
    await asyncio.wait({taking}, timeout=0.2)
    assert not taking.done()
    await ahead.rollback()
    assert await holding
    assert await taking == 2
    assert "follower c" in await b.holders()


async def test_a_server_that_falls_silent_while_it_is_connected_to_is_given_up(url: str, stack: AsyncExitStack) -> None:
    parts = urlsplit(url)

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server_reader, server_writer = await asyncio.open_connection(parts.hostname, parts.port)

        async def back() -> None:
            while data := await server_reader.read(65536):
                writer.write(data)

        answers = asyncio.ensure_future(back())
        stack.callback(answers.cancel)
        while (data := await reader.read(65536)) and b"client_connection_check_interval" not in data:
            server_writer.write(data)

    silent = await asyncio.start_server(relay, "127.0.0.1", 0)
    stack.callback(silent.close)
    host = f"{parts.netloc.rpartition('@')[0]}@127.0.0.1:{silent.sockets[0].getsockname()[1]}"
    mute = Leadership(urlunsplit(parts._replace(netloc=host)), "b")
    stack.push_async_callback(mute.close)
    with pytest.raises(PlatformError, match="cannot be reached"):
        async with asyncio.timeout(60.0):
            await mute.look()


async def test_nodes_that_begin_at_once_wait_for_the_one_that_makes_the_tables(
    url_without_tables: str, stack: AsyncExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgresql, "LOCK_PATIENCE_S", 0.0)
    holder = PostgresqlBackend(url_without_tables, "makes the tables")
    await asyncio.to_thread(holder.lock)
    opening = asyncio.ensure_future(opened(url_without_tables, "a", stack))
    await asyncio.sleep(0)
    await asyncio.to_thread(holder.prepare)
    await asyncio.to_thread(holder.writer().close)
    assert (await (await opening).look()).epoch == 0


async def test_what_cannot_be_reached_is_said(stack: AsyncExitStack) -> None:
    leadership = Leadership("postgresql://sesame@127.0.0.1:1/none", "a")
    stack.push_async_callback(leadership.close)
    with pytest.raises(ConfigurationError, match="cannot be used"):
        await leadership.open()
    with pytest.raises(PlatformError, match="cannot be reached"):
        await leadership.look()


def test_sessions_of_a_cluster_are_known_by_their_name() -> None:
    assert epoch_of("sesame/12 4711 on host") == 12
    assert epoch_of("sesame 4711 on host") == 0
    assert epoch_of("sesame/x 1") == 0
    assert epoch_of("") == 0
