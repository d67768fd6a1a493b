"""Searches and counts functions' lines as the Log Service does, with the same query language.

Used by `sesame logs`, which imports it only if a query is given, because the query modules take a second to load.
"""

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from sesame.model.logstore import DEFAULT_DELIMITERS, KeyIndex, LineIndex, LogIndex
from sesame.model.owner import service_of
from sesame.store.logs.logstores.function_logs import log_topic
from sesame.store.logs.query.database import Interrupt
from sesame.store.logs.query.engine import Limits, LogQueries, Page, Search, Table
from sesame.store.logs.query.grammar import parse
from sesame.store.logs.query.refusals import QueryRefused, search_error
from sesame.store.logs.query.relation import Source
from sesame.store.logs.query.rows import LogRow
from sesame.store.logs.query.segments import Segment, write_segment
from sesame.store.logs.reader import Lines, LogLine, Query

# How many lines are searched, or written into one segment, at a time.
LINES_TOGETHER = 50_000
END_OF_TIME_S = 1 << 40

_TEXT = KeyIndex("text", DEFAULT_DELIMITERS, doc_value=True)
# The index that the cloud's console creates for the logs of functions; only the built-in store has request ids.
INDEX = LogIndex(
    line=LineIndex(DEFAULT_DELIMITERS),
    keys={
        "message": KeyIndex("text", DEFAULT_DELIMITERS, chn=True, doc_value=True),
        **dict.fromkeys(("functionName", "serviceName", "qualifier", "versionId", "instanceID", "requestId"), _TEXT),
    },
)


class Matching:
    """Selects the lines that match a search."""

    def __init__(self, text: str, now_s: float) -> None:
        """Raises `QueryRefused`."""
        self._search = _search(text, now_s)
        if self._search.parsed.sql is not None:
            raise search_error("it has SQL behind a bar")
        self._queries = LogQueries(Path(tempfile.gettempdir()), Limits())

    def of(self, lines: Sequence[LogLine]) -> list[LogLine]:
        """The matching lines, in order."""
        if not lines:
            return []
        source = Source(tail=tuple(map(row_of, lines)))
        found = self._queries.search(self._search, source, Page(line=len(lines)), Interrupt())
        matching = {row.seq for row in found.rows}
        return [line for line in lines if line.id in matching]


def select(reader: Lines, query: Query, text: str, now_s: float) -> Table:
    """Runs SQL over the lines that `query` selects. Raises `QueryRefused`."""
    search = _search(text, now_s)
    if search.parsed.sql is None:
        raise QueryRefused("there is no SELECT; expected one such as SELECT count(*) AS lines", "sql")
    with tempfile.TemporaryDirectory(prefix="sesame-logs-") as folder:
        queries = LogQueries(Path(folder), Limits())
        try:
            return queries.select(search, Source(tuple(_segments(reader, query, Path(folder)))), Interrupt())
        finally:
            queries.close()


def _search(text: str, now_s: float) -> Search:
    return Search(parse(text), INDEX, from_s=0, to_s=END_OF_TIME_S, now_s=now_s)


def _segments(reader: Lines, query: Query, folder: Path) -> Iterator[Segment]:
    last = query.after_id
    while True:
        lines, last = reader.read_on(msgspec.structs.replace(query, after_id=last, limit=LINES_TOGETHER))
        if lines:
            yield write_segment(folder / f"{last}.parquet", map(row_of, lines))
        if len(lines) < LINES_TOGETHER:
            return


def row_of(line: LogLine) -> LogRow:
    """A line as the cloud writes it to a logstore, plus its request id, which the cloud does not write."""
    contents = (
        ("message", line.text),
        ("functionName", line.function),
        ("serviceName", service_of(line.service)),
        ("qualifier", line.qualifier),
        ("versionId", line.version_id),
        ("instanceID", line.instance_id),
        ("requestId", line.request_id),
    )
    time_s, ms = divmod(round(line.time * 1000), 1000)
    return LogRow(line.id, time_s, ms * 1_000_000, log_topic(line.service, line.function), "", (), contents)
