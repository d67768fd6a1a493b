"""The protocol between the server and a query process: frames of MessagePack over a socket pair.

Used by `query_processes` and `query_process`. One question at a time; each has a number, which its answer repeats.
"""

import socket
import struct

import msgspec

from sesame.store.logs.logstores.interface import Bar, Query, Result, Surroundings
from sesame.store.logs.logstores.known import Known
from sesame.store.logs.query.refusals import Part

_HEAD = struct.Struct(">I")
_READ_BYTES = 1024 * 1024


class Place(msgspec.Struct, frozen=True):
    """The file of the logstores and the folder of their segments."""

    file: str
    segments: str


class SearchAsked(msgspec.Struct, frozen=True, tag="search"):
    known: Known
    query: Query
    now_s: float


class HistogramAsked(msgspec.Struct, frozen=True, tag="histogram"):
    known: Known
    query: Query
    now_s: float


class ContextAsked(msgspec.Struct, frozen=True, tag="context"):
    known: Known
    pack_id: str
    pack_meta: str
    back: int
    forward: int


class ProjectSqlAsked(msgspec.Struct, frozen=True, tag="project_sql"):
    """Asks which logstore this SQL names, and for the query to ask there."""

    sql: str


Question = SearchAsked | HistogramAsked | ContextAsked | ProjectSqlAsked


class Ask(msgspec.Struct, frozen=True, tag="ask"):
    number: int
    place: Place
    question: Question


class Interrupt(msgspec.Struct, frozen=True, tag="interrupt"):
    """Ends the question with this number soon; it is answered nevertheless."""

    number: int


class Found(msgspec.Struct, frozen=True, tag="found"):
    result: Result


class Bars(msgspec.Struct, frozen=True, tag="bars"):
    bars: tuple[Bar, ...]


class Around(msgspec.Struct, frozen=True, tag="around"):
    surroundings: Surroundings


class ProjectSql(msgspec.Struct, frozen=True, tag="project_sql"):
    logstore: str
    text: str


class Refused(msgspec.Struct, frozen=True, tag="refused"):
    """Corresponds to `QueryRefused`."""

    message: str
    part: Part


class Wrong(msgspec.Struct, frozen=True, tag="wrong"):
    """Corresponds to `model.errors.Invalid`."""

    field: str
    allowed: str
    actual: str


class Failed(msgspec.Struct, frozen=True, tag="failed"):
    """A bug in Sesame, with its traceback."""

    traceback: str


Said = Found | Bars | Around | ProjectSql | Refused | Wrong | Failed


class Answer(msgspec.Struct, frozen=True):
    """`damaged` are segments that must be made again, as returned by `Answers.take_damaged`."""

    number: int
    said: Said
    damaged: tuple[tuple[int, int, int], ...] = ()


_encode = msgspec.msgpack.Encoder().encode


def send(sock: socket.socket, message: Ask | Interrupt | Answer) -> None:
    body = _encode(message)
    sock.sendall(_HEAD.pack(len(body)) + body)


def receive(sock: socket.socket) -> bytearray | None:
    """The next message, encoded; None if the other side is gone. Blocks."""
    head = _exactly(sock, _HEAD.size)
    return None if head is None else _exactly(sock, _HEAD.unpack(head)[0])


def _exactly(sock: socket.socket, size: int) -> bytearray | None:
    held = bytearray()
    while len(held) < size:
        try:
            piece = sock.recv(min(size - len(held), _READ_BYTES))
        except ConnectionError:
            return None
        if not piece:
            return None
        held += piece
    return held
