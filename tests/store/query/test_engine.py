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
from sesame.store.logs.query.project_sql import logstore_and_query
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


def test_an_interrupt_between_two_statements_ends_the_next(folder: Path) -> None:
    database, interrupt = Database(folder, memory_mb=256, threads=1), Interrupt()
    with database.connection(interrupt) as connection:
        interrupt.set()
        with pytest.raises(duckdb.InterruptException):
            connection.execute("SELECT count(*) FROM range(100000) a, range(100000) b, range(100000) c")
    database.close()


def test_what_a_caller_sends_writes_nothing_into_the_servers_log(
    queries: LogQueries, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(QueryRefused, match="expected one"):
        queries.select(search_of("* | select 1; drop log"), Source(), Interrupt())
    assert caplog.records == []


@pytest.mark.parametrize(
    "sql",
    [
        'SELECT * FROM (WITH "{path}" AS (SELECT 1 AS x) SELECT x FROM "{path}") q, "{path}"',
        'WITH RECURSIVE "{path}" AS (SELECT * FROM "{path}" UNION ALL SELECT * FROM "{path}") SELECT * FROM "{path}"',
        "SELECT * FROM (WITH tail AS (SELECT 1 AS x) SELECT x FROM tail) q, tail",
        "SELECT * FROM (WITH sqlite_master AS (SELECT 1 AS x) SELECT x FROM sqlite_master) q, sqlite_master",
    ],
)
def test_a_name_beyond_the_reach_of_its_with_reads_no_file_and_no_other_table(
    queries: LogQueries, folder: Path, sql: str
) -> None:
    of_another = write_segment(folder / "another.parquet", [log(1, secret="topsecret")])
    with pytest.raises(QueryRefused):
        queries.select(search_of(f"* | {sql.format(path=of_another.path)}"), Source(tail=(log(1, n="1"),)), Interrupt())


@pytest.mark.parametrize(
    ("sql", "row"),
    [
        ("WITH t AS (SELECT n FROM log), U(z) AS (SELECT n FROM t) SELECT u.z, t.n FROM u JOIN t ON u.z = t.n", "5,5"),
        ("WITH log AS (SELECT n + 1 AS more FROM log) SELECT max(more) FROM log", "6"),
        ("WITH RECURSIVE t(k) AS (SELECT 1 UNION ALL SELECT k + 1 FROM t WHERE k < 4) SELECT max(k) FROM t", "4"),
        ("SELECT cardinality(sequence(1, 10000)), sequence(3, 1), sequence(1, 6, 2)", "10000,[3,2,1],[1,3,5]"),
        ("SELECT sequence(date '2024-01-01', date '2024-01-01', interval '1' day)", '["2024-01-01 00:00:00.000"]'),
        ("SELECT lpad('a', NULL, '-'), levenshtein_distance(NULL, 'a'), sequence(NULL, 5)", "null,null,null"),
        ("SELECT lpad('a', n, '-'), rpad('a', 3, '-'), levenshtein_distance('abc', 'abd')", "----a,a--,1"),
    ],
)
def test_what_is_bounded_works_within_its_bounds(queries: LogQueries, sql: str, row: str) -> None:
    found = queries.select(search_of(f"* | {sql}"), Source(tail=(log(1, n="5"),)), Interrupt())
    assert ",".join(found.rows[0]) == row


@pytest.mark.parametrize(
    ("sql", "why"),
    [
        ("SELECT sequence(1, 300000000)", "must not have more than 10000 entries"),
        ("SELECT sequence(n, 0 - 300000000, -1)", "must not have more than 10000 entries"),
        ("SELECT lpad('a', 1000000000, 'b')", "Target length must be in the range"),
        ("SELECT rpad('a', -1, 'b')", "Target length must be in the range"),
        ("SELECT levenshtein_distance(lpad('a', 9999, 'b'), lpad('c', 9999, 'd'))", "are too large"),
        # Such a statement took sqlglot hours to parse.
        ("SELECT " + "ARRAY[" * 40 + "1" + "]" * 40, "nested deeper"),
        ("SELECT " + "row(" * 40 + "1" + ")" * 40, "nested deeper"),
    ],
)
def test_what_could_take_unbounded_time_or_memory_is_refused(queries: LogQueries, sql: str, why: str) -> None:
    with pytest.raises(QueryRefused, match=why):
        queries.select(search_of(f"* | {sql}"), Source(tail=(log(1, n="5"),)), Interrupt())


def test_a_quotation_mark_that_nothing_closes_is_found_at_once() -> None:
    with pytest.raises(QueryRefused, match="unexpected"):
        parse('"' + '\\"' * 9_990)


@pytest.mark.parametrize(
    ("sql", "logstore", "query"),
    [
        ("select a from access-log limit 0,20", "access-log", "* | SELECT a FROM log OFFSET 0 LIMIT 20"),
        (
            "select a-b from web-2024-01 w where a-1 > 2",
            "web-2024-01",
            "* | SELECT a - b FROM log AS w WHERE a - 1 > 2",
        ),
        ("select 'from a-b' from \"c-d\"", "c-d", "* | SELECT 'from a-b' FROM log"),
        ("with t as (select * from a-1) select * from t", "a-1", "* | WITH t AS (SELECT * FROM log) SELECT * FROM t"),
    ],
)
def test_sql_over_a_project_names_logstores_with_hyphens(sql: str, logstore: str, query: str) -> None:
    assert logstore_and_query(sql) == (logstore, query)


def test_a_difference_is_no_name() -> None:
    with pytest.raises(QueryRefused, match="is no SQL"):
        logstore_and_query("select a from b - c")


def test_sql_over_a_project_is_refused_where_it_is_nested_too_deeply() -> None:
    for sql in ("SELECT " + "row(" * 40 + "1" + ")" * 40, "SELECT " + "(" * 3000 + "1" + ")" * 3000):
        with pytest.raises(QueryRefused):
            logstore_and_query(f"{sql} FROM store")


def test_a_result_of_empty_texts_is_limited_too(queries: LogQueries) -> None:
    source = Source(tail=tuple(log(number, n=str(number)) for number in range(2_000)))
    with pytest.raises(QueryRefused, match="max result size"):
        queries.select(search_of("* | select '' from log limit 2000"), source, Interrupt())


def test_a_limit_of_thousands_of_digits_is_refused(queries: LogQueries) -> None:
    with pytest.raises(QueryRefused, match=r"LIMIT is 9{100}, and may be"):
        queries.select(search_of(f"* | select 1 from log limit {'9' * 5000}"), Source(), Interrupt())


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
