"""A segment of a cluster's log: lines numbered by one process, compressed, named by the SHA-256 of its bytes.

Created and read by the log writer process (`sealing`), which must import little.
"""

import bisect
import hashlib
from collections.abc import Sequence

import lz4.block
import msgspec

from sesame.store.logs.file import SourceKey

# A segment is sealed at the latest with this many bytes of lines, because it is transferred in one request
# and held in memory.
SEGMENT_BYTES = 2 * 1024 * 1024
# Errors of decompressing and decoding anything else.
UNREADABLE = (lz4.block.LZ4BlockError, msgspec.DecodeError, ValueError, MemoryError)
# Number of functions for which a lost segment leaves a note.
OWNERS_MAX = 100

Owner = tuple[str, str]


class Numbered(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A row of `logs.db`, with its number on every node; `source` is an index into the segment's sources."""

    id: int
    batch_ms: int
    source: int
    request_id: str
    at_ms: int
    marks: bytes | None
    data: bytes


class Content(msgspec.Struct, frozen=True, array_like=True):
    sources: Sequence[SourceKey]
    rows: Sequence[Numbered]


class Range(msgspec.Struct, frozen=True, array_like=True):
    """Numbers of rows; `end` is exclusive."""

    first: int
    end: int


class Ranges:
    """Ranges that do not touch, in order."""

    def __init__(self, ranges: Sequence[Range]) -> None:
        self._ranges = ranges

    def __contains__(self, wanted: Range) -> bool:
        """Whether one range contains all of `wanted`."""
        behind = bisect.bisect_right(self._ranges, wanted.first, key=lambda each: each.first)
        return behind > 0 and wanted.end <= self._ranges[behind - 1].end


class Segment(msgspec.Struct, frozen=True, array_like=True):
    """A segment as described in the database: times in ms since 1970, `size` in bytes of lines, and their owners."""

    digest: str
    ids: Range
    first_ms: int
    last_ms: int
    size: int
    owners: tuple[Owner, ...] = ()


class Sealed(msgspec.Struct, frozen=True, array_like=True):
    segment: Segment
    data: bytes


class Damaged(Exception):
    """The bytes are not those of the segment; the message describes the difference."""


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Content).decode


def seal(content: Content) -> Sealed:
    """`content` has at least one row, in the order of their numbers."""
    rows = content.rows
    data = lz4.block.compress(_encode(content))
    owners = dict.fromkeys((source.service, source.function) for source in content.sources)
    segment = Segment(
        digest=hashlib.sha256(data).hexdigest(),
        ids=Range(rows[0].id, rows[-1].id + 1),
        first_ms=min(row.batch_ms for row in rows),
        last_ms=max(row.batch_ms for row in rows),
        size=sum(len(row.data) for row in rows),
        owners=tuple(owners)[:OWNERS_MAX],
    )
    return Sealed(segment, data)


def follow(former: Segment, later: Segment) -> bool:
    """Whether no row belongs between them, not even one that a lost node has not uploaded yet."""
    return former.ids.end == later.ids.first


def joined(segments: Sequence[Segment], data: Sequence[bytes]) -> Sealed:
    """One segment with the rows of all, each of which follows the previous one. Raises `Damaged`."""
    numbers: dict[SourceKey, int] = {}
    rows: list[Numbered] = []
    for segment, each in zip(segments, data, strict=True):
        try:
            content = opened(segment.digest, each)
        except Damaged as damage:
            raise Damaged(f"segment {segment.digest}: {damage}") from damage
        own = [numbers.setdefault(source, len(numbers)) for source in content.sources]
        rows += [msgspec.structs.replace(row, source=own[row.source]) for row in content.rows]
    return seal(Content(list(numbers), rows))


def require_whole(digest: str, data: bytes) -> None:
    """Raises `Damaged`. Bytes with the right digest were sealed by a Sesame."""
    found = hashlib.sha256(data).hexdigest()
    if found != digest:
        raise Damaged(f"it is damaged: its {len(data)} bytes have the SHA-256 {found}")


def opened(digest: str, data: bytes) -> Content:
    """Raises `Damaged`."""
    require_whole(digest, data)
    try:
        content = _decode(lz4.block.decompress(data))
    except UNREADABLE as error:
        raise Damaged(f"it cannot be read: {error}; it may be of a newer Sesame") from error
    if not all(0 <= row.source < len(content.sources) for row in content.rows):
        raise Damaged("it has rows of sources that it does not name")
    return content
