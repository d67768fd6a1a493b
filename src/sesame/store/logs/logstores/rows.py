"""Converts groups to the rows that queries read."""

from collections.abc import Iterable, Iterator

from sesame.store.logs.logstores.file import ROW_BITS
from sesame.store.logs.logstores.reading import NumberedGroup
from sesame.store.logs.query.rows import LogRow


def rows_of(groups: Iterable[NumberedGroup]) -> Iterator[LogRow]:
    for number, group in groups:
        for ordinal, record in enumerate(group.records):
            seq = number << ROW_BITS | ordinal
            yield LogRow(seq, record.time_s, record.time_ns, group.topic, group.source, group.tags, record.contents)
