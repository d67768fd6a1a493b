"""The head of a tunnel: its first message, which says what the connection is and whom it is for.

Written by `tunnels`, read by `arrivals`. Everything after the head is the client's data, unchanged.
"""

import socket

import msgspec

from sesame.agents.link import GARBLED
from sesame.cluster.reading import read_exactly
from sesame.http.shared import Way
from sesame.model.errors import PlatformError
from sesame.sandbox.network import Listen

LENGTH_BYTES = 2
HEAD_BYTES_MAX = 4096


class _Head(msgspec.Struct, frozen=True, tag=True, array_like=True):
    pass


class Request(_Head, frozen=True):
    """A connection to the Function Compute endpoint, from the start of a request. See `http.moving.Arrived`."""

    moves: int
    proven: bool
    way: Way
    drawn: str = ""


class Endpoint(_Head, frozen=True):
    """A connection to another endpoint of the writer, from its first byte. `name` is the setting of its port."""

    name: str
    way: Way


class Inside(_Head, frozen=True):
    """A connection from an instance to something that the writer serves in its network, from its first byte."""

    listen: Listen
    instance: str


Head = Request | Endpoint | Inside
_decode = msgspec.msgpack.Decoder(Head).decode
_encode = msgspec.msgpack.Encoder().encode


class UnreadableHead(PlatformError):
    """The received bytes are not a head of this version."""


def framed(head: Head) -> bytes:
    body = _encode(head)
    assert len(body) <= HEAD_BYTES_MAX
    return len(body).to_bytes(LENGTH_BYTES, "big") + body


async def read_head(connected: socket.socket) -> Head:
    """Reads the head and nothing after it. Raises `OSError` if the connection ends, and `UnreadableHead`."""
    size = int.from_bytes(await read_exactly(connected, LENGTH_BYTES), "big")
    if size > HEAD_BYTES_MAX:
        raise UnreadableHead(f"a tunnel begins with {size} bytes of head; expected at most {HEAD_BYTES_MAX}")
    try:
        head: Head = _decode(await read_exactly(connected, size))
    except GARBLED as error:
        raise UnreadableHead(
            f"a tunnel begins with what this version of Sesame does not know: {error}; install one Sesame on all nodes"
        ) from error
    return head
