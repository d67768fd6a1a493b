"""Projects, logstores, indexes and groups: there at once, after a restart, and until their time is up."""

import asyncio
from pathlib import Path

import pytest
from tests.store.logstores.conftest import INDEX, opened
from tests.support.fakes import FakeClocks
from tests.support.query_processes import rows_of

from sesame.model.errors import AlreadyExists, Invalid, NotFound
from sesame.model.logstore import LogGroup, LogProject, LogRecord, Logstore
from sesame.store.logs.logstores.interface import Query
from sesame.store.logs.logstores.store import LogStorage

NOW_S = int(FakeClocks().wall())
DAY_S = 86_400


def group(*messages: str, topic: str = "", at_s: int = NOW_S) -> LogGroup:
    records = [LogRecord(at_s, 0, (("level", "info"), ("n", str(n)), ("message", m))) for n, m in enumerate(messages)]
    return LogGroup(tuple(records), topic, "here", (("zone", "a"),))


async def messages(storage: LogStorage, text: str = "*", logstore: str = "l") -> list[str]:
    found = await storage.query("p", logstore, Query(text, NOW_S - 100 * DAY_S, NOW_S + 100 * DAY_S))
    return [row["message"] for row in rows_of(found)]


async def test_projects_and_logstores_are_there_after_a_restart(
    storage: LogStorage, tmp_path: Path, clocks: FakeClocks
) -> None:
    await storage.update_project("p", "described")
    await storage.update_logstore(Logstore("p", "l", ttl_days=3, options={"mode": "standard"}))
    await storage.close()
    again = await opened(tmp_path, clocks)
    assert (await again.project("p")).description == "described"
    found = await again.logstore("p", "l")
    assert (found.ttl_days, found.shards, found.options) == (3, 2, {"mode": "standard"})
    assert (await again.index("p", "l")).keys == INDEX.keys
    assert [each.name for each in await again.logstores("p")] == ["l"]
    await again.close()


async def test_names_are_taken_once_and_what_is_missing_is_named(storage: LogStorage) -> None:
    with pytest.raises(AlreadyExists):
        await storage.create_project(LogProject("p"))
    with pytest.raises(AlreadyExists):
        await storage.create_logstore(Logstore("p", "l", ttl_days=1))
    with pytest.raises(AlreadyExists):
        await storage.create_index("p", "l", INDEX)
    for kind, asked in (
        ("log_project", storage.append("other", "l", group("x"))),
        ("logstore", storage.append("p", "other", group("x"))),
        ("log_shard", storage.pull("p", "l", 2, 0, 10)),
        ("log_index", storage.query("p", "without", Query("*", 0, 1))),
    ):
        if kind == "log_index":
            await storage.create_logstore(Logstore("p", "without", ttl_days=1))
        with pytest.raises(NotFound) as refused:
            await asked
        assert refused.value.kind == kind


async def test_of_two_that_make_the_same_logstore_one_succeeds(storage: LogStorage) -> None:
    made = [storage.create_logstore(Logstore("p", "new", ttl_days=1)) for _ in range(2)]
    results = await asyncio.gather(*made, return_exceptions=True)
    assert sorted(type(each).__name__ for each in results) == ["AlreadyExists", "NoneType"]


async def test_a_group_is_pulled_as_it_was_written_and_cursors_lead_through_the_shard(
    storage: LogStorage, clocks: FakeClocks
) -> None:
    key = "0" * 32
    first, second = group("one", "two", topic="t"), group("three")
    await storage.append("p", "l", first, hash_key=key)
    await storage.append("p", "l", group("of the other shard"), hash_key="f" * 32)
    clocks.set_wall(NOW_S + 60)
    await storage.append("p", "l", second, hash_key=key)
    begin, end = await storage.cursor("p", "l", 0, "begin"), await storage.cursor("p", "l", 0, "end")
    pulled = await storage.pull("p", "l", 0, begin, 1)
    assert pulled.groups == (first,)
    rest = await storage.pull("p", "l", 0, pulled.next_cursor, 10)
    assert (rest.groups, rest.next_cursor) == ((second,), end)
    assert await storage.pull("p", "l", 0, end, 10) == type(rest)((), end)
    assert await storage.pull("p", "l", 0, begin, 10, end=begin) == type(rest)((), begin)
    at = await storage.cursor("p", "l", 0, NOW_S + 30)
    assert (await storage.pull("p", "l", 0, at, 10)).groups == (second,)
    assert await storage.cursor_time("p", "l", 0, begin) == NOW_S
    assert await storage.cursor("p", "l", 0, NOW_S + 61) == end
    with pytest.raises(Invalid):
        await storage.pull("p", "l", 0, end + 1, 10)
    with pytest.raises(Invalid):
        await storage.append("p", "l", first, hash_key="no key")


async def test_shards_part_the_keys(storage: LogStorage) -> None:
    first, second = await storage.shards("p", "l")
    assert (first.begin, first.end) == ("0" * 32, "8" + "0" * 31)
    assert (second.begin, second.end) == (first.end, "f" * 32)


async def test_what_was_written_is_found_and_counted_and_told_to_listeners(storage: LogStorage) -> None:
    told: list[tuple[str, str]] = []
    stop = storage.subscribe(lambda *names: told.append(names))
    await storage.append("p", "l", group("good day", "good night", topic="t"))
    stop()
    await storage.append("p", "l", group("bad day", topic="u"))
    assert told == [("p", "l")]
    assert await storage.topics("p", "l", after=None, most=9) == ["t", "u"]
    assert await storage.topics("p", "l", after=None, most=1) == ["t"]
    assert await storage.topics("p", "l", after="t", most=9) == ["u"]
    assert await messages(storage, "good") == ["good day", "good night"]
    found = await storage.query("p", "l", Query("* | select count(*) as c, sum(n) as s", NOW_S, NOW_S + 1))
    assert (rows_of(found), found.has_sql) == ([{"c": "3", "s": "1"}], True)
    bars = await storage.histogram("p", "l", Query("day", NOW_S - 5, NOW_S + 5))
    assert [(bar.from_s - NOW_S, bar.count) for bar in bars if bar.count] == [(0, 2)]
    assert (bars[0].from_s, bars[-1].to_s, len(bars)) == (NOW_S - 5, NOW_S + 5, 10)


async def test_an_answer_says_what_was_searched_for(storage: LogStorage) -> None:
    found = await storage.query(
        "p", "l", Query('level:info and ("a b" or c*) not d | select 1 as one', NOW_S, NOW_S + 1)
    )
    assert found.terms == (("level", "info"), ("", "a b"), ("", "c*"))


async def test_the_surroundings_of_a_log_are_those_of_its_stream(storage: LogStorage) -> None:
    await storage.append("p", "l", group("1", "2", topic="t"))
    await storage.append("p", "l", group("elsewhere", topic="u"))
    await storage.append("p", "l", group("3", "4", "5", topic="t"))
    (found,) = rows_of(await storage.query("p", "l", Query("4 | with_pack_meta", NOW_S, NOW_S + 1)))
    around = await storage.context("p", "l", found["__tag__:__pack_id__"], found["__pack_meta__"], 2, 2)
    assert [row["message"] for row in around.rows] == ["2", "3", "4", "5"]
    assert (around.back, around.forward) == (2, 1)
    with pytest.raises(Invalid):
        await storage.context("p", "l", "other", found["__pack_meta__"], 1, 1)


async def test_logs_go_when_their_time_is_up_and_with_their_logstore(
    storage: LogStorage, clocks: FakeClocks, tmp_path: Path
) -> None:
    await storage.append("p", "l", group("old"))
    clocks.set_wall(NOW_S + 6 * DAY_S)
    await storage.append("p", "l", group("new"))
    clocks.set_wall(NOW_S + 8 * DAY_S)
    await storage.expire()
    assert await messages(storage) == ["new"]
    await storage.delete_logstore("p", "l")
    with pytest.raises(NotFound):
        await storage.append("p", "l", group("late"))
    await storage.create_logstore(Logstore("p", "l", ttl_days=7))
    await storage.create_index("p", "l", INDEX)
    await storage.expire()
    assert await messages(storage) == []
    await storage.delete_project("p")
    with pytest.raises(NotFound):
        await storage.logstore("p", "l")
    await storage.close()
    again = await opened(tmp_path, clocks)
    assert await again.projects() == []
    await again.close()
