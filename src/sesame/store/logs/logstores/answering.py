"""Answers queries over a logstore: selects the segments and groups for a query, and runs it with `store.logs.query`.

Imported only by the query process, because DuckDB and sqlglot take seconds to load. Everything here blocks.
"""

import itertools
from collections.abc import Iterable, Iterator

import msgspec

from sesame.store.logs.logstores import interface
from sesame.store.logs.logstores.known import Known
from sesame.store.logs.logstores.packs import fields_with_pack, place_of, rows_of_stream, stream_of
from sesame.store.logs.logstores.reading import NumberedGroup, Reader
from sesame.store.logs.logstores.rows import rows_of
from sesame.store.logs.logstores.segment_files import SegmentFiles
from sesame.store.logs.query.database import Interrupt
from sesame.store.logs.query.engine import Limits, LogQueries, Page, Search
from sesame.store.logs.query.grammar import parse
from sesame.store.logs.query.refusals import too_large
from sesame.store.logs.query.relation import Source
from sesame.store.logs.query.rows import row_fields
from sesame.store.logs.query.segments import Segment
from sesame.store.logs.query.tree import terms_of

# A context query reads at most this many groups on each side.
CONTEXT_GROUPS_MAX = 2_000
BARS_MAX = 60
BAR_WIDTHS_S = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1_800, 3_600, 7_200, 14_400, 21_600, 43_200, 86_400)

LIMITS = Limits(seconds=interface.QUERY_DEADLINE_S)

__all__ = ["LIMITS", "Answers", "Interrupt"]


class Answers:
    """`Interrupt.set` ends a query soon."""

    def __init__(self, reader: Reader, files: SegmentFiles) -> None:
        self._reader = reader
        self._files = files
        self._queries = LogQueries(files.root, LIMITS)
        self._damaged: set[tuple[int, int, int]] = set()

    def close(self) -> None:
        """Call it when no query runs."""
        self._queries.close()

    def take_damaged(self) -> tuple[tuple[int, int, int], ...]:
        """Segments found damaged or missing since the last call, as (logstore, first group, end).

        Their logs were read from the file of the logstores, which contains them too.
        """
        found, self._damaged = tuple(sorted(self._damaged)), set()
        return found

    def query(self, known: Known, query: interface.Query, now_s: float, interrupt: Interrupt) -> interface.Result:
        search = _search(known, query, now_s)
        source, parsed = self._source(known, query), search.parsed
        if parsed.sql is not None:
            table = self._queries.select(search, source, interrupt)
            rows = tuple(dict(zip(table.columns, row, strict=True)) for row in table.rows)
            columns, complete, processed = table.columns, True, table.processed_rows
        else:
            page = Page(query.line, query.offset, query.reverse)
            found = self._queries.search(search, source, page, interrupt)
            fields = fields_with_pack if parsed.with_pack_meta else row_fields
            rows = tuple(map(fields, found.rows))
            columns = tuple(dict.fromkeys(name for row in rows for name in row))
            complete, processed = found.complete, found.processed_rows
        encoded = msgspec.json.encode(rows)
        if len(encoded) > LIMITS.result_bytes:
            raise too_large(LIMITS.result_bytes)
        return interface.Result(
            rows=encoded,
            count=len(rows),
            columns=columns,
            has_sql=parsed.sql is not None,
            complete=complete,
            processed_rows=processed,
            where=parsed.where,
            aggregate=parsed.sql or "",
            elapsed_ms=0,
            terms=terms_of(parsed.search),
        )

    def histogram(
        self, known: Known, query: interface.Query, now_s: float, interrupt: Interrupt
    ) -> list[interface.Bar]:
        search = _search(known, query, now_s)
        width_s = bar_width_s(query.to_s - query.from_s)
        counts = self._queries.histogram(search, self._source(known, query), width_s, interrupt)
        return bars(query.from_s, query.to_s, width_s, counts)

    def context(
        self, known: Known, pack_id: str, pack_meta: str, back: int, forward: int, interrupt: Interrupt
    ) -> interface.Surroundings:
        """If interrupted, returns what was found so far."""
        place = place_of(pack_id, pack_meta)
        group = self._reader.group(known.id, place.group)
        if group is None or place.ordinal >= len(group.records):
            return interface.Surroundings((), 0, 0)
        stream = stream_of(group)
        own = list(rows_of((NumberedGroup(place.group, group),)))
        earlier = _until(interrupt, self._reader.around(known.id, place.group, CONTEXT_GROUPS_MAX, forward=False))
        later = _until(interrupt, self._reader.around(known.id, place.group, CONTEXT_GROUPS_MAX, forward=True))
        before = itertools.chain(reversed(own[: place.ordinal]), rows_of_stream(earlier, stream, backward=True))
        after = itertools.chain(own[place.ordinal + 1 :], rows_of_stream(later, stream))
        preceding = list(itertools.islice(before, back))[::-1]
        following = list(itertools.islice(after, forward))
        rows = tuple(fields_with_pack(row) for row in (*preceding, own[place.ordinal], *following))
        return interface.Surroundings(rows, len(preceding), len(following))

    def _source(self, known: Known, query: interface.Query) -> Source:
        found = self._reader.snapshot(known.id, query.from_s, query.to_s)
        segments: list[Segment] = []
        unsealed: list[NumberedGroup] = []
        for sealed in found.segments:
            segment = msgspec.json.decode(sealed.document, type=Segment) if sealed.document is not None else None
            if segment is None or not self._files.is_intact(known.id, sealed.first, sealed.end, segment.checksum):
                if segment is not None:
                    self._damaged.add((known.id, sealed.first, sealed.end))
                unsealed += self._reader.range(known.id, sealed.first, sealed.end)
                continue
            path = str(self._files.path(known.id, sealed.first, sealed.end))
            segments.append(msgspec.structs.replace(segment, path=path))
        return Source(tuple(segments), tuple(rows_of((*unsealed, *found.tail))))


def _until(interrupt: Interrupt, groups: Iterable[NumberedGroup]) -> Iterator[NumberedGroup]:
    return itertools.takewhile(lambda _group: not interrupt.is_set, groups)


def _search(known: Known, query: interface.Query, now_s: float) -> Search:
    """Raises `QueryRefused`."""
    assert known.index is not None, "`queries` asks about logstores that have an index"
    return Search(
        parsed=parse(query.text),
        index=known.index,
        from_s=query.from_s,
        to_s=query.to_s,
        now_s=now_s,
        topic=query.topic,
        logstore=known.logstore.name,
    )


def bar_width_s(duration_s: int) -> int:
    """The narrowest of the usual widths with which a histogram has at most BARS_MAX full and two shorter bars."""
    day_s = BAR_WIDTHS_S[-1]
    days = -(-duration_s // (BARS_MAX * day_s))
    return next((width_s for width_s in BAR_WIDTHS_S if duration_s <= width_s * BARS_MAX), days * day_s)


def bars(from_s: int, to_s: int, width_s: int, counts: dict[int, int]) -> list[interface.Bar]:
    """Every interval of the time, including those without logs; the first and the last may be shorter."""
    starts = range(from_s - from_s % width_s, to_s, width_s)
    return [interface.Bar(max(start, from_s), min(start + width_s, to_s), counts.get(start, 0)) for start in starts]
