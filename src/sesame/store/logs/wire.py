"""The protocol between Sesame and the log writer process: frames of MessagePack over a socket pair.

Used by `store.logs.writer` and `store.logs.writer_process`. Each batch is complete: it names the source of every call.
"""

import struct

import msgspec

from sesame.store.logs.file import SourceKey
from sesame.store.logs.lines import Piece
from sesame.store.logs.routes import Route
from sesame.store.logs.shared.segment import Range, Sealed, Segment

_HEAD = struct.Struct(">IQ")


class Whole(msgspec.Struct, frozen=True, array_like=True, gc=False, tag=1):
    """All output of a call: its first line and the rest, both whole lines, together at most one chunk."""

    source: SourceKey
    request_id: str
    at_ms: int
    line: bytes
    data_at_ms: int
    data: bytes


class Output(msgspec.Struct, frozen=True, array_like=True, gc=False, tag=0):
    """Output of a call in pieces, each with its time (ms since 1970). With `cut`, an unfinished line ends here."""

    call: int
    source: SourceKey
    request_id: str
    pieces: list[Piece]
    cut: bool = False


class Batch(msgspec.Struct, frozen=True, array_like=True, tag=0):
    """`now_ms` is the sender's clock, the only one used; `expire` requests the deletion of old lines.

    Lines of the sources in `routes` go to logstores too.
    """

    now_ms: int
    outputs: list[Output | Whole]
    expire: bool = False
    routes: list[tuple[SourceKey, Route]] = []


class Seal(msgspec.Struct, frozen=True, array_like=True, tag=1):
    """In a cluster: rows of `done` are in the bucket. Requests the oldest of the others, in `Tried.sealed`."""

    done: list[Range]


class Take(msgspec.Struct, frozen=True, array_like=True, tag=2):
    """In a cluster: a segment, without `data` if it is missing. `Tried.notice` says why it is lost."""

    segment: Segment
    data: bytes | None


class WhatIsHere(msgspec.Struct, frozen=True, array_like=True, tag=3):
    """In a cluster: requests the rows of the bucket that are in the file, in `Tried.here`."""


class Begin(msgspec.Struct, frozen=True, array_like=True, tag=4):
    """In a cluster: exactly these rows are in the bucket."""

    known: list[Range]


class Join(msgspec.Struct, frozen=True, array_like=True, tag=5):
    """In a cluster: requests one segment made of several, in `Tried.sealed`. `Tried.notice`: one is damaged."""

    segments: list[Segment]
    data: list[bytes]


Asked = Seal | Take | WhatIsHere | Begin | Join


class Tried(msgspec.Struct, frozen=True, array_like=True):
    """The result of the batch with this number: written, unless there is an error; with `given_up` it is lost.

    Number 0 stands for opening the file. Sent again with `expired` once the old lines have been deleted.
    A `notice` is for the operator: the file was damaged and has been replaced. `logstores` are those that got lines.
    """

    error: str = ""
    given_up: bool = False
    expired: bool = False
    notice: str = ""
    logstores: list[int] = []
    sealed: Sealed | None = None
    here: list[Range] = []


_encode = msgspec.msgpack.Encoder().encode


def frame(number: int, message: Batch | Asked | Tried) -> bytes:
    body = _encode(message)
    return _HEAD.pack(len(body), number) + body


class Frames:
    """Reassembles frames from a stream."""

    def __init__(self) -> None:
        self._held = bytearray()

    def add(self, piece: bytes) -> list[tuple[int, bytes]]:
        """Adds bytes; returns number and body of the frames that are complete now."""
        held = self._held
        held += piece
        found, start = [], 0
        while len(held) - start >= _HEAD.size:
            size, number = _HEAD.unpack_from(held, start)
            begin = start + _HEAD.size
            if begin + size > len(held):
                break
            start = begin + size
            found.append((number, bytes(held[begin:start])))
        del held[:start]
        return found
