"""PostgreSQL: what is refused at the start, the lock, and what happens while the server is gone.

Run by pytest, with a server of the tests' own.
"""

import asyncio
import functools
import os
import re
import socket
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any, TypeVar

import msgspec
import pytest
import sqlalchemy as sa
from tests.support.postgresql import Server, own_server

from sesame.model.errors import ConfigurationError, PlatformError
from sesame.store.catalog import Catalog
from sesame.store.sql import postgresql, postgresql_fit
from sesame.store.sql.database import Database

T = TypeVar("T")

PATIENCE_S = 30.0


class Thing(msgspec.Struct, frozen=True):
    value: int


KINDS = {"thing": Thing}


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """One that a test may stop and kill."""
    with own_server() as server:
        yield server


@pytest.fixture
def name(server: Server) -> Iterator[str]:
    name = server.create("template0")
    yield name
    server.drop(name)


@pytest.fixture
async def database(server: Server, name: str) -> AsyncIterator[Database]:
    database = Database(server.url(name), "/var/lib/sesame")
    await database.open()
    yield database
    await database.close()


async def loaded(database: Database) -> Catalog:
    catalog = Catalog(database, KINDS, clock=lambda: 100.0)
    await catalog.open()
    return catalog


async def put(catalog: Catalog, name: str, value: int = 1) -> None:
    await catalog.edit(lambda tx: tx.put("thing", "", name, Thing(value)))


def shown(catalog: Catalog) -> dict[str, int]:
    return {record.name: record.document.value for record in catalog.children("thing", "")}


def one(connection: sa.Connection) -> int:
    return int(connection.execute(sa.text("SELECT 1")).scalar_one())


async def until(ask: Callable[[], Awaitable[T]]) -> T:
    """What `ask` gives once the database answers again."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            try:
                return await ask()
            except PlatformError:
                await asyncio.sleep(0.05)


REFUSED = {
    "wrong password": (lambda s, n: s.url(n, password="wrong"), r"password authentication failed.*Check user and pass"),
    "no such user": (lambda s, n: s.url(n, user="other"), r"password authentication failed.*Check user and password"),
    "no such database": (lambda s, n: s.url("none"), r'database "none" does not exist\. Make it first'),
    "nothing listens": (lambda s, n: f"postgresql://u:p@127.0.0.1:{free_port()}/x", r"refused.*PostgreSQL runs there"),
    "no such host": (lambda s, n: "postgresql://u:p@no.such.host.invalid/x", r"PostgreSQL runs there"),
    "no such option": (lambda s, n: s.url(n, options="?colour=red"), r"colour"),
    "bad port": (lambda s, n: "postgresql://u:p@127.0.0.1:port/x", r"cannot be used: .*(port|expected)"),
    "no URL": (lambda s, n: "postgresql://u:p@[::1/x", r"cannot be read: .*expected postgresql://USER"),
    "bad ssl mode": (lambda s, n: s.url(n, options="?sslmode=sometimes"), r"sslmode.*libpq"),
    "no ssl there": (lambda s, n: s.url(n, options="?sslmode=require"), r"(?i)ssl"),
}  # fmt: skip


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@pytest.mark.parametrize(("url", "says"), REFUSED.values(), ids=REFUSED)
async def test_what_cannot_be_reached_is_refused_with_the_next_step_and_without_the_password(
    server: Server, name: str, url: Callable[[Server, str], str], says: str
) -> None:
    with pytest.raises(ConfigurationError, match=says) as refused:
        await Database(url(server, name)).open()
    assert not re.search(r"pass:word|pass%3A|:wrong|:p@", str(refused.value))


def test_a_password_is_never_shown() -> None:
    for url in (
        "postgresql://u:secret@h/d",
        "postgresql://h/d?user=u&password=secret",
        "postgres://u:secret@[::1]:5/d",
    ):
        assert "secret" not in postgresql.without_password(url)
    assert (
        postgresql.without_password("postgresql://u:p@h:1/d?sslmode=require") == "postgresql://u@h:1/d?sslmode=require"
    )


async def test_an_old_server_is_refused(server: Server, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgresql_fit, "VERSION_LEAST", 99)
    with pytest.raises(ConfigurationError, match=r"its server is PostgreSQL \d+\.\d+, expected 99 or newer\. Upgrade"):
        await Database(server.url(name)).open()


async def test_a_database_of_another_encoding_is_refused(server: Server) -> None:
    name = server.create("template0", "ENCODING 'SQL_ASCII' LOCALE_PROVIDER libc LOCALE 'C'")
    with pytest.raises(ConfigurationError, match="has the encoding SQL_ASCII, expected UTF8"):
        await Database(server.url(name)).open()
    server.drop(name)


async def test_a_user_who_may_make_no_tables_is_told_so(server: Server, name: str) -> None:
    server.sql("DROP ROLE IF EXISTS guest; CREATE ROLE guest LOGIN PASSWORD 'guest'")
    with pytest.raises(ConfigurationError, match=r"permission denied.*own the database"):
        await Database(server.url(name, user="guest", password="guest")).open()


async def test_commits_are_on_the_disk_whatever_the_server_is_set_to(server: Server, name: str) -> None:
    server.sql(
        f"ALTER DATABASE {name} SET synchronous_commit = off; ALTER DATABASE {name} SET idle_session_timeout = 900"
    )
    database = Database(server.url(name))
    await database.open()
    asked = [sa.text("SHOW synchronous_commit"), sa.text("SHOW idle_session_timeout")]
    found = await database.write(lambda connection: [connection.execute(each).scalar_one() for each in asked])
    assert found == ["on", "0"]
    await database.close()


async def test_a_second_sesame_is_refused_and_told_who_has_the_database(
    server: Server, name: str, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgresql, "LOCK_PATIENCE_S", 0.0)
    second = Database(server.url(name), "/srv/other")
    holder = f"'sesame {os.getpid()} on {socket.gethostname()[:24]} /var/lib/sesame' from 127.0.0.1"
    with pytest.raises(ConfigurationError, match="is in use by another process") as refused:
        await second.open()
    assert holder in str(refused.value)
    await database.close()
    third = Database(server.url(name), "/srv/other")
    await third.open()
    await third.close()


async def test_reads_and_writes_fail_while_the_server_is_gone_and_go_on_by_themselves(
    server: Server, database: Database
) -> None:
    catalog = await loaded(database)
    await put(catalog, "before")
    server.kill()
    try:
        for _ in range(3):
            with pytest.raises(PlatformError, match=r"lost|reached"):
                await put(catalog, "never")
            with pytest.raises(PlatformError, match=r"lost|reached"):
                await database.read(one)
    finally:
        server.start()
    await until(lambda: put(catalog, "after"))
    assert await until(lambda: database.read(one))
    assert shown(catalog) == {"before": 1, "after": 1}
    assert shown(await loaded(database)) == {"before": 1, "after": 1}


async def test_an_idle_connection_that_was_lost_costs_no_request(
    server: Server, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    catalog = await loaded(database)
    await put(catalog, "before")
    server.stop()
    server.start()
    monkeypatch.setattr(postgresql, "TRUSTED_S", 0.0)
    await put(catalog, "after")
    assert await database.read(one) == 1


async def test_an_idle_sesame_takes_its_lock_again_by_itself(
    server: Server, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgresql.PostgresqlBackend, "probe_every_s", 0.05)
    monkeypatch.setattr(postgresql, "TRUSTED_S", 0.0)
    database = Database(server.url(name))
    await database.open()
    server.kill()
    server.start()

    async def has_lock() -> None:
        if server.sql("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'") != "1":
            raise PlatformError("not yet")

    await until(has_lock)
    await database.close()


def ended_by_server(server: Server, name: str) -> None:
    server.sql(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'")


async def test_a_commit_without_an_answer_is_an_error_and_is_seen_once_the_connection_is_back(
    server: Server, name: str, database: Database
) -> None:
    """The connection is lost after the change was sent and before its commit, or in the middle of it."""
    catalog = await loaded(database)
    await put(catalog, "a")
    inside, go_on = threading.Event(), threading.Event()

    def change(connection: sa.Connection) -> None:
        connection.execute(sa.text("UPDATE counters SET value = value WHERE name = 'catalog'"))
        inside.set()
        go_on.wait(PATIENCE_S)

    pending = asyncio.create_task(database.write(change))
    await asyncio.to_thread(inside.wait, PATIENCE_S)
    await asyncio.to_thread(ended_by_server, server, name)
    go_on.set()
    with pytest.raises(PlatformError):
        await pending
    # As another process, or a commit whose answer was lost, leaves the database: memory does not know.
    server.sql(
        "UPDATE counters SET value = 2 WHERE name = 'catalog'; INSERT INTO records VALUES "
        "('thing', '', 'unanswered', convert_to('{\"value\": 7}', 'UTF8'), 'e', 2, 1, 1)",
        name,
    )
    ended_by_server(server, name)
    await until(lambda: put(catalog, "b"))
    assert shown(catalog) == {"a": 1, "b": 1, "unanswered": 7}
    assert catalog.revision == 3


async def test_a_database_that_is_older_than_memory_is_read_anew(server: Server, name: str, database: Database) -> None:
    catalog = await loaded(database)
    for each in "abc":
        await put(catalog, each)
    server.sql("DELETE FROM records WHERE name = 'c'; UPDATE counters SET value = 2 WHERE name = 'catalog'", name)
    ended_by_server(server, name)
    await until(lambda: put(catalog, "d"))
    assert shown(catalog) == {"a": 1, "b": 1, "d": 1}
    assert catalog.revision == 3


async def test_nothing_is_written_after_another_process_took_the_lock_meanwhile(
    server: Server, name: str, database: Database
) -> None:
    catalog = await loaded(database)
    await put(catalog, "a")
    thief = Database(server.url(name), "/srv/thief")
    stealing = asyncio.create_task(thief.open())
    ended_by_server(server, name)
    while not stealing.done():
        ended = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE '%/var/lib/sesame'"
        await asyncio.to_thread(server.sql, ended)
        await asyncio.sleep(0.02)
    await stealing
    stolen = await loaded(thief)
    for _ in range(2):
        with pytest.raises(PlatformError, match=r"/srv/thief.* took the database .* writes nothing until"):
            await until_lost(lambda: put(catalog, "never"))
    await put(stolen, "b", 2)
    await thief.close()
    await until(lambda: put(catalog, "c"))
    assert shown(catalog) == {"a": 1, "b": 2, "c": 1}


async def until_lost(ask: Callable[[], Awaitable[None]]) -> None:
    """Asks again while the error is only that of the lost connection."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            try:
                return await ask()
            except PlatformError as error:
                if "took the database" in str(error):
                    raise
                await asyncio.sleep(0.02)


async def test_a_server_that_is_silent_counts_as_gone(
    server: Server, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = Database(server.url(name))
    await database.open()
    catalog = await loaded(database)
    await put(catalog, "before")
    server.pause(on=True)
    try:
        # Short only while nothing can answer: a server that speaks may be slow.
        with monkeypatch.context() as patch:
            for limit in ("CONNECT_TIMEOUT_S", "TRANSACTION_TIMEOUT_S", "PROBE_TIMEOUT_S"):
                patch.setattr(postgresql, limit, 0.5)
            for _ in range(2):
                with pytest.raises(PlatformError, match=r"lost|reached"):
                    await asyncio.wait_for(put(catalog, "in doubt"), PATIENCE_S)
                with pytest.raises(PlatformError, match=r"lost|reached"):
                    await asyncio.wait_for(database.read(one), PATIENCE_S)
    finally:
        server.pause(on=False)
    await until(lambda: put(catalog, "after"))
    assert shown(catalog).items() >= {"before": 1, "after": 1}.items()
    assert shown(await loaded(database)) == shown(catalog)
    await database.close()


async def test_requests_beside_the_one_whose_connection_broke_are_told_too(
    server: Server, name: str, database: Database
) -> None:
    held, hold = threading.Event(), threading.Event()

    def waits(_connection: sa.Connection) -> None:
        held.set()
        hold.wait(PATIENCE_S)

    first = asyncio.create_task(database.write(waits))
    await asyncio.to_thread(held.wait, PATIENCE_S)
    statement = sa.text("UPDATE counters SET value = value")
    batch = [asyncio.create_task(database.write(lambda connection: connection.execute(statement))) for _ in range(3)]

    def breaks(connection: sa.Connection) -> "sa.CursorResult[Any]":
        ended_by_server(server, name)
        return connection.execute(statement)

    batch.append(asyncio.create_task(database.write(breaks)))
    await asyncio.sleep(0)
    hold.set()
    await first
    answers = await asyncio.wait_for(asyncio.gather(*batch, return_exceptions=True), PATIENCE_S)
    assert all(isinstance(answer, PlatformError) for answer in answers)
    await until(functools.partial(database.write, lambda connection: connection.execute(statement)))
