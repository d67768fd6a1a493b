"""Splits the output of functions into chunks of whole lines, and chunks into entries.

Used by `store.logs.writer_process` before writing and by `store.logs.reader` after reading. Only a line that is longer
than an entry is split.
"""

import bisect
from collections.abc import Iterator

import msgspec

# reference/runtime.md §7: the longest entry of the platform's log; a longer line becomes several entries.
ENTRY_BYTES_MAX = 32 * 1024
# One row of the file: large enough that a chatty call needs few rows, small enough to be read in one piece.
CHUNK_BYTES_MAX = 64 * 1024

Piece = tuple[int, bytes]  # time of writing (ms since 1970), and the bytes


class Chunk(msgspec.Struct, frozen=True, gc=False):
    """Whole entries of one call. `marks` contains [offset, ms later than at_ms] for each change of time; often none."""

    at_ms: int
    marks: bytes | None
    data: bytes


class Splitter:
    """Cuts one call's output after its last newline; the rest waits for its own newline, or for `end`."""

    __slots__ = ("_rest",)

    def __init__(self) -> None:
        self._rest: list[Piece] = []

    def cut(self, pieces: list[Piece]) -> list[Chunk]:
        """The chunks that are complete with the added `pieces`."""
        if self._rest:
            pieces = self._rest + pieces
            self._rest = []
        data = b"".join([piece[1] for piece in pieces])
        size = len(data)
        times = _Times(pieces)
        whole = data.rfind(b"\n") + 1
        chunks = [_chunk(times, data, start, end) for start, end in _ranges(data, whole)]
        while size - whole > ENTRY_BYTES_MAX:
            chunks.append(_chunk(times, data, whole, whole + ENTRY_BYTES_MAX))
            whole += ENTRY_BYTES_MAX
        if whole < size:
            self._rest = times.pieces_from(whole, data)
        return chunks

    @property
    def waits(self) -> bool:
        """Whether a line waits for its newline."""
        return bool(self._rest)

    def end(self) -> list[Chunk]:
        """The line that waits for a newline, because none will come."""
        rest, self._rest = self._rest, []
        if not rest:
            return []
        data = b"".join([piece[1] for piece in rest])
        return [_chunk(_Times(rest), data, 0, len(data))]


def whole_chunk(pieces: list[Piece]) -> Chunk | None:
    """Fast path for typical calls: a few pieces of whole lines, smaller than a chunk in total; None for others."""
    if pieces[-1][1][-1:] != b"\n":
        return None
    data = b"".join([piece[1] for piece in pieces])
    if len(data) > CHUNK_BYTES_MAX:
        return None
    at_ms = pieces[0][0]
    if pieces[-1][0] == at_ms:
        return Chunk(at_ms, None, data)
    return Chunk(at_ms, _Times(pieces).between(0, len(data))[1], data)


def joined_chunk(at_ms: int, line: bytes, data_at_ms: int, data: bytes) -> Chunk:
    """The same for two such pieces."""
    marks = None if data_at_ms == at_ms else b"[[%d,%d]]" % (len(line), data_at_ms - at_ms)
    return Chunk(at_ms, marks, line + data)


class _Times:
    """The time at which each byte of the joined pieces was written."""

    __slots__ = ("_offsets", "_when")

    def __init__(self, pieces: list[Piece]) -> None:
        self._offsets = offsets = [0]
        self._when = when = [pieces[0][0]]
        offset = 0
        for at_ms, data in pieces:
            if at_ms != when[-1]:
                offsets.append(offset)
                when.append(at_ms)
            offset += len(data)

    def between(self, start: int, end: int) -> tuple[int, bytes | None]:
        """The time at `start`, and the marks up to `end`."""
        when = self._when
        if len(when) == 1:
            return when[0], None
        first = bisect.bisect_right(self._offsets, start) - 1
        last = bisect.bisect_left(self._offsets, end)
        base = when[first]
        marks = [(self._offsets[n] - start, when[n] - base) for n in range(first + 1, last)]
        return base, msgspec.json.encode(marks) if marks else None

    def pieces_from(self, start: int, data: bytes) -> list[Piece]:
        first = bisect.bisect_right(self._offsets, start) - 1
        starts = [start, *self._offsets[first + 1 :]]
        ends = [*starts[1:], len(data)]
        return [(self._when[first + n], data[a:b]) for n, (a, b) in enumerate(zip(starts, ends, strict=True))]


def _chunk(times: _Times, data: bytes, start: int, end: int) -> Chunk:
    at_ms, marks = times.between(start, end)
    return Chunk(at_ms, marks, data if end - start == len(data) else data[start:end])


def _ranges(data: bytes, end: int) -> Iterator[tuple[int, int]]:
    """Splits `data[:end]`, which ends with a newline, into chunks at newlines; splits a longer line at entries."""
    start = 0
    while start < end:
        stop = min(start + CHUNK_BYTES_MAX, end)
        if stop < end:
            newline = data.rfind(b"\n", start, stop)
            stop = newline + 1 if newline >= 0 else start + ENTRY_BYTES_MAX
        yield start, stop
        start = stop


def entries(chunk: Chunk) -> Iterator[Piece]:
    """The entries of a chunk in order, each with the time of its first byte and without its line ending."""
    marks: list[tuple[int, int]] = msgspec.json.decode(chunk.marks, type=list[tuple[int, int]]) if chunk.marks else []
    offsets = [0, *(mark[0] for mark in marks)]
    later_ms = [0, *(mark[1] for mark in marks)]
    data, start = chunk.data, 0
    while start < len(data):
        newline = data.find(b"\n", start)
        end = newline if newline >= 0 else len(data)
        for first in range(start, max(end, start + 1), ENTRY_BYTES_MAX):
            last = min(first + ENTRY_BYTES_MAX, end)
            at_ms = chunk.at_ms + later_ms[bisect.bisect_right(offsets, first) - 1]
            yield at_ms, data[first:last].removesuffix(b"\r") if last == end else data[first:last]
        start = end + 1
