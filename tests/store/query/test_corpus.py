"""The corpus, answered over one half of the logs in a sealed segment and the other not sealed yet."""

from pathlib import Path

import pytest
from tests.store.query import corpus

from sesame.store.logs.query.database import Interrupt
from sesame.store.logs.query.engine import Limits, LogQueries, Page, Search
from sesame.store.logs.query.grammar import parse
from sesame.store.logs.query.refusals import QueryRefused
from sesame.store.logs.query.relation import Source
from sesame.store.logs.query.segments import write_segment


@pytest.fixture(scope="module")
def queries(tmp_path_factory: pytest.TempPathFactory) -> tuple[LogQueries, Source]:
    folder: Path = tmp_path_factory.mktemp("segments")
    # Logs of both parts lie between each other, as those of several shards do.
    sealed = write_segment(folder / "segment", corpus.LOGS[::2])
    return LogQueries(folder, Limits(memory_mb=256, threads=1)), Source((sealed,), corpus.LOGS[1::2])


def search_of(text: str) -> Search:
    return Search(parse(text), corpus.INDEX, corpus.START_S, corpus.END_S, corpus.NOW_S)


def test_there_are_enough() -> None:
    assert len(corpus.SEARCHES) + len(corpus.SQL) >= 120


@pytest.mark.parametrize("text", corpus.SEARCHES)
def test_a_search_finds_the_logs(queries: tuple[LogQueries, Source], text: str) -> None:
    answer = corpus.SEARCHES[text]
    if isinstance(answer, str):
        with pytest.raises(QueryRefused) as refused:
            queries[0].search(search_of(text), queries[1], Page(), Interrupt())
        assert answer in refused.value.message
        return
    found = queries[0].search(search_of(text), queries[1], Page(), Interrupt())
    assert tuple(row.seq for row in found.rows) == answer
    assert (found.complete, found.processed_rows) == (True, len(corpus.LOGS))


@pytest.mark.parametrize("text", corpus.SQL)
def test_sql_answers(queries: tuple[LogQueries, Source], text: str) -> None:
    answer = corpus.SQL[text]
    if isinstance(answer, str):
        with pytest.raises(QueryRefused) as refused:
            queries[0].select(search_of(text), queries[1], Interrupt())
        assert answer in refused.value.message
        return
    table = queries[0].select(search_of(text), queries[1], Interrupt())
    assert list(table.rows) == answer
