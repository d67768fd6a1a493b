"""Names a log's place, so that the logs around it can be asked for: `__pack_meta__` and `__tag__:__pack_id__`.

Logs of one topic, source and set of tags are one stream: what is around a log comes from its stream.
"""

import hashlib
import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import msgspec

from sesame.model.errors import Invalid
from sesame.model.logstore import LogGroup
from sesame.store.logs.logstores.file import ROW_BITS
from sesame.store.logs.logstores.reading import NumberedGroup
from sesame.store.logs.logstores.rows import rows_of
from sesame.store.logs.query.rows import LogRow, row_fields

PACK_ID = "__tag__:__pack_id__"
PACK_META = "__pack_meta__"
_STREAM_DIGITS = 16
# The largest number that fits into the file's 64 bits.
_NUMBER = re.compile("[0-9]{1,18}")
_ORDINAL = (1 << ROW_BITS) - 1


class Place(NamedTuple):
    """A log: the number of its group, and its own number in the group."""

    group: int
    ordinal: int


def stream_of(group: LogGroup | LogRow) -> str:
    named = msgspec.json.encode((group.topic, group.source, sorted(group.tags)))
    return hashlib.sha256(named).hexdigest()[:_STREAM_DIGITS].upper()


def fields_with_pack(row: LogRow) -> dict[str, str]:
    number = row.seq >> ROW_BITS
    pack = {PACK_ID: f"{stream_of(row)}-{number:X}", PACK_META: f"{number}|{row.seq & _ORDINAL}"}
    return row_fields(row) | pack


def place_of(pack_id: str, pack_meta: str) -> Place:
    """Raises `Invalid` for a value that no row has."""
    number, _bar, ordinal = pack_meta.partition("|")
    if not (_NUMBER.fullmatch(number) and _NUMBER.fullmatch(ordinal)):
        raise Invalid("pack_meta", "the __pack_meta__ of a log", pack_meta)
    if pack_id.rpartition("-")[2] != f"{int(number):X}":
        raise Invalid("pack_id", "the __pack_id__ of the log that pack_meta names", pack_id)
    return Place(int(number), int(ordinal))


def rows_of_stream(groups: Iterable[NumberedGroup], stream: str, *, backward: bool = False) -> Iterator[LogRow]:
    """The rows of one stream's groups; with `backward`, the last row of each group first."""
    for each in groups:
        if stream_of(each.group) == stream:
            rows = rows_of((each,))
            yield from reversed(list(rows)) if backward else rows
