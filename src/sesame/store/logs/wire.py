"""What the intake of logs and the process that keeps them say to each other: frames of MessagePack over a socket pair.

Spoken by `store.logs.writer` on Sesame's side and by `store.logs.writer_process` on the other.
Every batch stands for itself: it says of each call whose it is.
"""

import struct

import msgspec

from sesame.store.logs.file import SourceKey
from sesame.store.logs.lines import Piece

_HEAD = struct.Struct(">IQ")


class Whole(msgspec.Struct, frozen=True, array_like=True, gc=False, tag=1):
    """A call's first line and what followed, whole lines both and no more than a chunk together; times as below."""

    source: SourceKey
    request_id: str
    at_ms: int
    line: bytes
    data_at_ms: int
    data: bytes


class Output(msgspec.Struct, frozen=True, array_like=True, gc=False, tag=0):
    """Pieces of what a call wrote, each with its time (ms since 1970). With `cut`, a line without newline is ended."""

    call: int
    source: SourceKey
    request_id: str
    pieces: list[Piece]
    cut: bool = False


class Batch(msgspec.Struct, frozen=True, array_like=True):
    """`now_ms` is the sender's clock, the only one that counts; `expire` asks for old lines to be deleted."""

    now_ms: int
    outputs: list[Output | Whole]
    expire: bool = False


class Tried(msgspec.Struct, frozen=True, array_like=True):
    """How the batch of this number fared: in the file, if there is no error; given up; or to be tried again.

    Number 0 is the opening. Said a second time with `expired`, when nothing is left that was to be deleted then.
    """

    error: str = ""
    given_up: bool = False
    expired: bool = False


_encode = msgspec.msgpack.Encoder().encode


def frame(number: int, message: Batch | Tried) -> bytes:
    body = _encode(message)
    return _HEAD.pack(len(body), number) + body


class Frames:
    """Puts frames together again from whatever pieces they come in."""

    def __init__(self) -> None:
        self._held = bytearray()

    def add(self, piece: bytes) -> list[tuple[int, bytes]]:
        """Number and body of those that are whole now."""
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
