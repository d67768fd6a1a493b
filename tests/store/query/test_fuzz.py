"""No text makes a query crash or hang: it is answered, or refused in the Log Service's words. See `tests/fuzz` too."""

import random
import re
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.store.query import corpus

from sesame.store.logs.query.database import Interrupt
from sesame.store.logs.query.engine import Limits, LogQueries, Page, Search
from sesame.store.logs.query.grammar import parse
from sesame.store.logs.query.refusals import QueryRefused
from sesame.store.logs.query.relation import Source

KNOWN = tuple({**corpus.SEARCHES, **corpus.SQL})
# What the known queries are made of, and what tends to break parsers.
TOKENS = sorted({token for text in KNOWN for token in re.findall(r"\w+|\s+|[^\w\s]", text)})
NASTY = [
    "\0",
    "\ud800",
    "\\",
    '"',
    "'",
    "((",
    "))",
    "|",
    "||",
    "--",
    "/*",
    ";",
    "$1",
    "\u2028",
    "é",
    "中",
    "9" * 40,
    "1e999",
    "-",
]


@pytest.fixture(scope="module")
def queries(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LogQueries]:
    opened = LogQueries(tmp_path_factory.mktemp("segments"), Limits(memory_mb=256, threads=1))
    yield opened
    opened.close()


def ask(queries: LogQueries, text: str) -> None:
    """Answers the query; only a refusal may be raised. Hypothesis and the loop below report whatever else is."""
    source = Source(tail=corpus.LOGS)
    try:
        search = Search(parse(text), corpus.INDEX, corpus.START_S, corpus.END_S, corpus.NOW_S)
        if search.parsed.sql is None:
            queries.search(search, source, Page(), Interrupt())
        else:
            queries.select(search, source, Interrupt())
    except QueryRefused:
        return


@settings(max_examples=30, deadline=None)
@given(st.lists(st.sampled_from(TOKENS + NASTY), max_size=25).map("".join))
def test_any_search_is_answered_or_refused(queries: LogQueries, text: str) -> None:
    ask(queries, text)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.sampled_from(TOKENS + NASTY), max_size=15).map(" ".join))
def test_any_sql_is_answered_or_refused(queries: LogQueries, text: str) -> None:
    ask(queries, f"* | select {text}")


DEEP = {
    "parentheses": "(" * 5_000,
    "negations": "not " * 5_000 + "a",
    "quotes": '"' * 9_999,
    "terms": "a and " * 4_000,
    "colons": "a:" * 9_000,
    "long": "x" * 1_000_000,
    "parentheses of SQL": "* | select " + "(" * 5_000,
    "signs": "* | select " + "- " * 4_001 + "1",
    "negations of SQL": "* | select " + "not " * 3_000 + "1",
    "sums": "* | select 1" + "+1" * 5_000,
    "cases": "* | select " + "case when 1=1 then " * 500,
    "backslashes": "* | select '" + "\\" * 9_000,
    "tables": "* | with " + ",".join(f"t{n} as (select 1)" for n in range(400)) + " select 1",
}


@pytest.mark.parametrize("name", DEEP)
def test_what_is_deep_or_long_is_refused_or_answered(queries: LogQueries, name: str) -> None:
    ask(queries, DEEP[name])


def mutated(randomly: random.Random) -> str:
    """A known query with some of its tokens taken out, doubled, or replaced."""
    tokens = re.findall(r"\w+|\s+|[^\w\s]", randomly.choice(KNOWN))
    for _ in range(randomly.randint(1, 6)):
        at = randomly.randint(0, len(tokens))
        match randomly.randint(0, 3):
            case 0:
                del tokens[at : at + randomly.randint(1, 3)]
            case 1:
                tokens[at:at] = tokens[at : at + 5] * randomly.randint(1, 4)
            case 2:
                tokens[at : at + 1] = [randomly.choice(TOKENS)]
            case _:
                tokens[at : at + 1] = [randomly.choice(NASTY)]
    return "".join(tokens)


def test_changed_queries_are_answered_or_refused(queries: LogQueries) -> None:
    randomly = random.Random(14)
    for _ in range(40):
        ask(queries, mutated(randomly))
