"""Pages, histograms, fields of any name, limits and walls: what the corpus does not say of the engine.

Run by pytest.
"""

import threading
from collections.abc import Iterator
from pathlib import Path

import duckdb
import msgspec
import pytest

from sesame.model.logstore import DEFAULT_DELIMITERS, KeyIndex, LineIndex, LogIndex
from sesame.store.logs.query.database import Database, Interrupt
from sesame.store.logs.query.engine import Limits, LogQueries, Page, Search
from sesame.store.logs.query.grammar import parse
from sesame.store.logs.query.refusals import QueryRefused
from sesame.store.logs.query.relation import Source
from sesame.store.logs.query.rows import LogRow, row_fields
from sesame.store.logs.query.segments import column_of, field_of, write_segment
from sesame.store.logs.query.values import text_of

START_S = 1_700_000_000
INDEX = LogIndex(line=LineIndex(DEFAULT_DELIMITERS), keys={"n": KeyIndex("long", doc_value=True)})


def log(number: int, **contents: str) -> LogRow:
    return LogRow(number, START_S + number, 0, "t", "s", (), tuple(contents.items()))


def search_of(text: str, index: LogIndex = INDEX, to_s: int = START_S + 100_000) -> Search:
    return Search(parse(text), index, START_S, to_s, START_S)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


@pytest.fixture
def queries(folder: Path) -> Iterator[LogQueries]:
    opened = LogQueries(folder, Limits(memory_mb=256, threads=1, result_bytes=10_000))
    yield opened
    opened.close()


def test_pages_go_forwards_and_backwards(queries: LogQueries, folder: Path) -> None:
    logs = [log(number, n=str(number)) for number in range(10)]
    source = Source((write_segment(folder / "a", logs[:3]), write_segment(folder / "b", logs[5:])), tuple(logs[3:5]))

    def page(**page: int | bool) -> list[int]:
        found = queries.search(search_of("n>=2"), source, msgspec.convert(page, Page), Interrupt())
        return [row.seq for row in found.rows]

    assert page(line=3) == [2, 3, 4]
    assert page(line=3, offset=3) == [5, 6, 7]
    assert page(line=3, reverse=True) == [9, 8, 7]
    assert page(line=3, offset=6, reverse=True) == [3, 2]


def test_a_search_of_many_logs_stops_when_it_has_enough(
    queries: LogQueries, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sesame.store.logs.query.engine.FIRST_ROWS", 50)
    source = Source((write_segment(folder / "a", [log(number, n=str(number)) for number in range(1_000)]),))
    newest = queries.search(search_of("*"), source, Page(line=2, reverse=True), Interrupt())
    assert [row.seq for row in newest.rows] == [999, 998]
    assert newest.processed_rows < 1_000
    everything = queries.search(search_of("n<3"), source, Page(reverse=True), Interrupt())
    assert [row.seq for row in everything.rows] == [2, 1, 0]
    assert everything.processed_rows == 1_000


def test_a_histogram_counts_by_intervals(queries: LogQueries) -> None:
    source = Source(tail=tuple(log(number, n=str(number)) for number in range(25)))
    assert queries.histogram(search_of("not n:3"), source, 10, Interrupt()) == {
        START_S: 9,
        START_S + 10: 10,
        START_S + 20: 5,
    }


def test_fields_of_any_name_come_back(queries: LogQueries, folder: Path) -> None:
    odd = {"Status": "1", "status": "2", "^": "3", 'a"b': "4", "a.b/c~": "5", "": "6", "字段": "7"}
    # In a hundred other logs these are rare, so they have no columns.
    rare = log(500, n="1", **{f"rare-{key}": value for key, value in odd.items()})
    sealed = write_segment(folder / "a", [*(log(number, **odd) for number in range(3)), rare])
    assert sealed.has_rest is False
    crowd = write_segment(folder / "b", [*(log(1_000 + number, n="1") for number in range(300)), rare])
    assert crowd.has_rest is True
    found = queries.search(search_of("4 or rare*"), Source((sealed, crowd)), Page(), Interrupt())
    assert [dict(row.contents) for row in found.rows] == [odd, odd, odd, dict(rare.contents), dict(rare.contents)]
    assert [field_of(column_of(field)) for field in odd] == list(odd)


def test_a_row_has_the_fields_that_the_api_shows() -> None:
    row = LogRow(1, START_S, 5, "topic", "source", (("host", "h"),), (("message", "m"),))
    assert row_fields(row) == {
        "__time__": str(START_S),
        "__time_ns_part__": "5",
        "__topic__": "topic",
        "__source__": "source",
        "__tag__:host": "h",
        "message": "m",
    }


def test_a_query_ends_when_it_is_interrupted(queries: LogQueries) -> None:
    source = Source(tail=tuple(log(number, n=str(number)) for number in range(1_000)))
    interrupt = Interrupt()
    timer = threading.Timer(0.2, interrupt.set)
    timer.start()
    endless = "* | select count(*) from log a, log b, log c, log d"
    with pytest.raises(QueryRefused, match=r"exceeded maximum time limit of 55\.00s"):
        queries.select(search_of(endless), source, interrupt)
    # One that was interrupted before it began has looked at nothing.
    assert queries.search(search_of("*"), source, Page(), interrupt).complete is False
    assert queries.search(search_of("*"), source, Page(line=1), Interrupt()).complete is True


def test_what_a_caller_sends_writes_nothing_into_the_servers_log(
    queries: LogQueries, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(QueryRefused, match="expected one"):
        queries.select(search_of("* | select 1; drop log"), Source(), Interrupt())
    assert caplog.records == []


def test_memory_and_result_are_limited(queries: LogQueries) -> None:
    source = Source(tail=tuple(log(number, n=str(number)) for number in range(1_000)))
    with pytest.raises(QueryRefused, match="Query exceeded max memory size of 256MB"):
        queries.select(search_of("* | select array_agg(a.n) from log a, log b, log c"), source, Interrupt())
    with pytest.raises(QueryRefused, match="max result size"):
        queries.select(
            search_of("* | select n, __source__, __topic__, __time__ from log limit 1000"), source, Interrupt()
        )


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT * FROM read_text('/etc/hostname')",
        "SELECT * FROM '/etc/passwd'",
        "COPY (SELECT 1) TO '/tmp/sesame-query-test'",
        "ATTACH '/tmp/sesame-query-test.db'",
        "INSTALL httpfs",
        "SET enable_external_access = true",
        "SET memory_limit = '100GB'",
        "SET allowed_directories = ['/']",
    ],
)
def test_the_database_itself_reaches_no_other_file_and_keeps_its_settings(folder: Path, statement: str) -> None:
    database = Database(folder, memory_mb=256, threads=1)
    with pytest.raises(duckdb.Error), database.connection(Interrupt()) as connection:
        connection.execute(statement)
    database.close()


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "null"),
        (True, "true"),
        (1.0, "1.0"),
        (1e-7, "0.0000001"),
        (1494985500.848, "1494985500.848"),
        (float("inf"), "Infinity"),
        ([1.5, None, "a"], '[1.5,null,"a"]'),
        ({"a": 1}, '{"a":1}'),
        (b"abc", "YWJj"),
    ],
)
def test_values_are_shown_as_the_log_service_shows_them(value: object, text: str) -> None:
    assert text_of(value) == text
