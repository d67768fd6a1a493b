"""What a test's Sesame keeps: its database is that of the migrations, a reset empties it, and its clock goes forward.

Run by pytest, in one event loop without a process of its own.
"""

import asyncio
import sqlite3
import time
from pathlib import Path

import pytest
import sqlalchemy as sa
from tests.support.fakes import FakeClocks

from sesame.app import Sesame, Substitutes
from sesame.model.clocks import pause
from sesame.settings import Settings
from sesame.store.sql import migrate
from sesame.store.sql.database import Database
from sesame.store.sql.queue_schema import invocations
from sesame.store.sql.sqlite import write_engine
from sesame.testing.state import THROTTLES_WAITED, State
from sesame.testing.virtual_clocks import VirtualClocks


def content(path: Path) -> tuple[set[tuple[str, ...]], dict[str, list[tuple[object, ...]]]]:
    """The schema without the order of its columns' spelling, and every row but for times."""
    with sqlite3.connect(path) as connection:
        tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        schema: set[tuple[str, ...]] = set()
        for table in tables:
            for kind in ("table_xinfo", "foreign_key_list", "index_list"):
                for row in connection.execute(f"PRAGMA {kind}({table})"):
                    # An index by its columns and condition, which names its rows; SQLite numbers the others.
                    schema.add((table, kind, *map(str, row[1:])))
        for (sql,) in connection.execute("SELECT sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL"):
            schema.add((" ".join(sql.replace('"', "").split()),))
        for table, sql in connection.execute("SELECT name, sql FROM sqlite_master WHERE type = 'table'"):
            schema.add((table, str("WITHOUT ROWID" in sql), str("AUTOINCREMENT" in sql)))
        rows = {table: sorted(connection.execute(f"SELECT * FROM {table}")) for table in tables}
    return schema, rows


async def test_the_database_is_as_all_migrations_make_it(tmp_path: Path) -> None:
    new = Database(tmp_path / "made.db", durable=False)
    await new.open()
    await new.close()
    engine = write_engine(tmp_path / "migrated.db", durable=False)
    with engine.connect() as connection:
        migrate.upgrade(connection, "the test's")
        connection.commit()
    engine.dispose()
    made, wanted = content(tmp_path / "made.db"), content(tmp_path / "migrated.db")
    assert made[0] == wanted[0]
    assert made[1] == wanted[1]
    again = Database(tmp_path / "made.db")
    await again.open()
    await again.close()


async def test_a_database_that_is_not_durable_waits_for_no_disk(tmp_path: Path) -> None:
    for durable, wanted in ((True, 2), (False, 0)):
        database = Database(tmp_path / f"{durable}.db", durable=durable)
        await database.open()
        try:
            set_to = await database.write(lambda c: c.exec_driver_sql("PRAGMA synchronous").scalar_one())
            assert set_to == wanted
        finally:
            await database.close()


async def test_timers_fire_once_in_order_when_the_clock_is_moved() -> None:
    clocks, fired = VirtualClocks(), list[str]()
    wall, began = clocks.wall(), clocks.monotonic()
    for name, delay_s in (("second", 200.0), ("first", 100.0), ("later", 10_000.0), ("never", 50.0)):
        timer = clocks.call_later(delay_s, lambda name=name: fired.append(name))  # type: ignore[misc]
        if name == "never":
            timer.cancel()
    sleeping = asyncio.create_task(clocks.sleep(150))
    await asyncio.sleep(0)
    clocks.jump(300)
    assert fired == ["first", "second"]
    await sleeping
    assert clocks.wall() - wall >= 300
    clocks.put_right()
    assert abs(clocks.wall() - time.time()) < 60
    assert clocks.monotonic() - began >= 300


async def test_a_time_that_is_short_passes_by_itself() -> None:
    clocks, rang = VirtualClocks(), asyncio.Event()
    clocks.jump(1000)
    clocks.call_later(0.001, rang.set)
    await rang.wait()


async def test_what_runs_in_the_background_is_waited_for() -> None:
    clocks, release = VirtualClocks(), asyncio.Event()

    async def now_and_then() -> None:
        while True:
            await clocks.sleep(3600)
            await release.wait()

    task = asyncio.create_task(now_and_then(), name="now and then")
    await asyncio.sleep(0)
    assert clocks.awake() == []
    clocks.jump(3600)
    await asyncio.sleep(0)
    assert clocks.awake() == ["now and then"]
    release.set()
    await asyncio.sleep(0)
    assert clocks.awake() == []
    task.cancel()
    await asyncio.wait([task])
    assert clocks.awake() == []


async def test_what_pauses_and_then_waits_for_events_is_not_waited_for() -> None:
    clocks = VirtualClocks()
    paused, event = asyncio.Event(), asyncio.Event()

    async def loop() -> None:
        await pause(clocks, 600.0)
        paused.set()
        await event.wait()

    running = asyncio.get_running_loop().create_task(loop())
    await asyncio.sleep(0)
    clocks.jump(600.0)
    await paused.wait()
    assert clocks.awake() == []
    event.set()
    await running


@pytest.mark.usefixtures("few_runtimes")
async def test_what_functions_write_goes_to_the_sink_that_is_given_and_dates_to_the_callers_clock(
    tmp_path: Path,
) -> None:
    with pytest.raises(AttributeError):
        _ = Sesame(Settings(data_dir=tmp_path)).parts
    settings = Settings(port=0, oss_port=0, data_dir=tmp_path / "data", sandbox="plain")
    clocks = FakeClocks()
    given = Substitutes(log_sink=lambda *_line: None, callers_wall=time.time, durable=False)
    sesame = Sesame(settings, clocks, substitutes=given)
    await sesame.start()
    try:
        assert not (tmp_path / "data" / "logs.db").exists()
        assert sesame.parts.storage.log_sink is given.log_sink
    finally:
        await sesame.stop()


@pytest.mark.usefixtures("few_runtimes")
async def test_a_reset_leaves_no_row_in_any_table(tmp_path: Path) -> None:
    """Rows are put into every table there is, also those that are added later."""
    settings = Settings(port=0, oss_port=0, data_dir=tmp_path / "data", sandbox="plain")
    clocks = VirtualClocks()
    sesame = Sesame(settings, clocks, substitutes=Substitutes(log_sink=lambda *_line: None, durable=False))
    await sesame.start()
    try:
        state = State(sesame.parts, clocks)
        before = content(tmp_path / "data" / "sesame.db")[1]
        with sqlite3.connect(tmp_path / "data" / "sesame.db", timeout=30) as connection:
            for table in set(before) - {"alembic_version", "counters", "records", "tombstones", "sqlite_sequence"}:
                columns = connection.execute(f"PRAGMA table_info({table})").fetchall()
                values = [_sample(table, *column[1:3]) for column in columns]
                connection.execute(f"INSERT INTO {table} VALUES ({', '.join('?' * len(values))})", values)
        await state.reset()
        after = content(tmp_path / "data" / "sesame.db")[1]
        kept = {"counters", "sqlite_sequence"}
        assert {name: rows for name, rows in after.items() if name not in kept} == {
            name: rows for name, rows in before.items() if name not in kept
        }
    finally:
        await sesame.stop()


def _sample(table: str, column: str, kind: str) -> object:
    if table == "outbox" and column == "topic":
        return "object.event"
    if column == "state":
        return "Enqueued"
    if column == "due_at":
        # Far ahead: what is due would be claimed.
        return 1e12
    return {"FLOAT": 1e12, "BIGINT": 1, "INTEGER": 1, "BOOLEAN": 0, "BLOB": b"{}"}.get(kind, "")


@pytest.mark.usefixtures("few_runtimes")
async def test_an_invocation_that_found_no_instance_is_waited_for_until_its_function_is_called(tmp_path: Path) -> None:
    settings = Settings(port=0, oss_port=0, data_dir=tmp_path / "data", sandbox="plain")
    clocks = VirtualClocks()
    sesame = Sesame(settings, clocks, substitutes=Substitutes(log_sink=lambda *_line: None, durable=False))
    await sesame.start()
    try:
        storage = sesame.parts.storage
        state, database, queue = State(sesame.parts, clocks), storage.objects.database, storage.queue

        async def waits(name: str, in_s: float, *, attempts: int, throttles: int) -> None:
            row = {
                "service": "s", "function": name, "qualifier": "LATEST", "invocation_id": name, "request_id": name,
                "stateful": False, "source": "", "state": "Retrying", "due_at": queue.clock.now() + in_s,
                "enqueued_at": 0.0, "expires_at": queue.clock.now() + 3600, "attempts": attempts,
                "throttles": throttles, "error": "there is no room", "payload": b"",
            }  # fmt: skip
            await database.write(lambda connection: connection.execute(sa.insert(invocations).values(row)))

        async def waiting() -> set[str]:
            asked = sa.select(invocations.c.function).where(invocations.c.due_at.is_not(None))
            return set(await database.read(lambda connection: connection.execute(asked).scalars().all()))

        await waits("failed", 600.0, attempts=1, throttles=1)
        assert await state.settle() == [], "its next call is due later"
        await waits("throttled", 0.2, attempts=0, throttles=1)
        clocks.call_later(0.3, queue.notify)
        assert await state.settle() == []
        assert await waiting() == {"failed"}
        await waits("without room", 600.0, attempts=0, throttles=THROTTLES_WAITED)
        said = "an asynchronous invocation of s/without room still has no instance: there is no room"
        assert await state.settle() == [said]
        assert await waiting() == {"failed", "without room"}
    finally:
        await sesame.stop()
