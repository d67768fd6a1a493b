"""The first message of a tunnel: what comes behind it, and for whom.

Written by `tunnels`, read by `arrivals`. Everything behind it is what the client says, byte for byte.
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
    """A connection to the endpoint of Function Compute from the beginning of a request on, as `http.moving.Arrived`."""

    moves: int
    proven: bool
    way: Way
    drawn: str = ""


class Endpoint(_Head, frozen=True):
    """A connection to another endpoint of the writer, by the name of its setting, from its first byte on."""

    name: str
    way: Way


class Inside(_Head, frozen=True):
    """A connection to what an instance's network has of the writer, from its first byte on."""

    listen: Listen
    instance: str


Head = Request | Endpoint | Inside
_decode = msgspec.msgpack.Decoder(Head).decode
_encode = msgspec.msgpack.Encoder().encode


class UnreadableHead(PlatformError):
    """What came is no head of this version."""


def framed(head: Head) -> bytes:
    body = _encode(head)
    assert len(body) <= HEAD_BYTES_MAX
    return len(body).to_bytes(LENGTH_BYTES, "big") + body


async def read_head(connected: socket.socket) -> Head:
    """Reads the head, and nothing behind it. Raises `OSError` for a connection that ends, and `UnreadableHead`."""
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
