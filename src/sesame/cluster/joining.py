"""The first words on a link between nodes, before its messages: which node it is, and in which epoch.

Said by `cluster.following`, answered by `cluster.members`, on a connection that has proven itself (`cluster.port`).
"""

import asyncio
import functools
import socket
from typing import TypeVar

import msgspec

from sesame import __version__
from sesame.agents.link import GARBLED
from sesame.agents.succession import spoken
from sesame.cluster.heads import Head
from sesame.cluster.reading import read_exactly
from sesame.cluster.sameness import Told
from sesame.model.errors import PlatformError

# Of what is said before there is a link.
JOINS_WITHIN_S = 3.0
_SIZE_BYTES = 4
_BYTES_MAX = 64 * 1024

Said = TypeVar("Said")


class Joins(msgspec.Struct, frozen=True, array_like=True):
    """`node` is new with each start of its supervisor; `address` is the agent port of its follower.

    Its instances may have so much memory, and as much disk, None for any. `sesame` is its version of Sesame, `settings`
    are those that every node has in common. One that `only_asks` is told whether it would be refused, and not linked.
    `speaks` as of `speaks`.
    """

    node: str
    address: str
    epoch: int
    memory_mb: int
    disk_mb: int | None
    sesame: str = __version__
    settings: dict[str, Told] = {}
    only_asks: bool = False
    speaks: str = ""


@functools.cache
def speaks() -> str:
    """What nodes must have in common to be linked, whatever their versions."""
    return spoken(0, Head)


def other_version(joins: Joins) -> str:
    """Why the node cannot be linked, "" where it can: the messages and records of both must be the same.

    A digest of them, and not the version, so that one node after the other can be upgraded where nothing of it changed.
    """
    if joins.speaks == speaks():
        return ""
    return (
        f"it runs Sesame {joins.sesame}, whose messages or records are others than those of the writer's "
        f"{__version__}: install one version on every node"
    )


class Joined(msgspec.Struct, frozen=True, array_like=True):
    """`agent` is the follower's number with this writer. `refused` says why there is none; "" where there is."""

    agent: int
    refused: str = ""


async def join(connected: socket.socket, joins: Joins) -> Joined:
    """Raises `OSError`, among them `TimeoutError`, and `PlatformError` where the other side refuses."""
    async with asyncio.timeout(JOINS_WITHIN_S):
        await _say(connected, msgspec.msgpack.encode(joins))
        joined = await _hear(connected, Joined)
    if joined.refused:
        raise PlatformError(f"the writer of the cluster refuses this node: {joined.refused}")
    return joined


async def hear(connected: socket.socket) -> Joins:
    """Raises as `join`."""
    async with asyncio.timeout(JOINS_WITHIN_S):
        return await _hear(connected, Joins)


async def answer(connected: socket.socket, joined: Joined) -> None:
    async with asyncio.timeout(JOINS_WITHIN_S):
        await _say(connected, msgspec.msgpack.encode(joined))


async def _say(connected: socket.socket, said: bytes) -> None:
    await asyncio.get_running_loop().sock_sendall(connected, len(said).to_bytes(_SIZE_BYTES, "big") + said)


async def _hear(connected: socket.socket, expected: type[Said]) -> Said:
    size = int.from_bytes(await read_exactly(connected, _SIZE_BYTES), "big")
    if size > _BYTES_MAX:
        raise PlatformError(f"the other node announces {size} bytes, expected at most {_BYTES_MAX}")
    try:
        return msgspec.msgpack.decode(await read_exactly(connected, size), type=expected)
    except GARBLED as error:
        raise PlatformError(f"the other node says what is no message of a node's: {error}") from error
