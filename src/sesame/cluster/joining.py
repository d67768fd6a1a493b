"""The exchange that opens a link between nodes, before its messages: a node asks to join, the writer answers.

`cluster.following` asks, `cluster.members` answers, on an authenticated connection (`cluster.port`).
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

# How long this exchange may take.
JOINS_WITHIN_S = 3.0
_SIZE_BYTES = 4
_BYTES_MAX = 64 * 1024

Said = TypeVar("Said")


class Joins(msgspec.Struct, frozen=True, array_like=True):
    """A node's request to join.

    `node` is its name, new with each start of its supervisor; `address` is the agent port of its follower. `epoch` is
    that of the writer which it expects. `memory_mb` and `disk_mb` bound its instances, None for no bound. `sesame` is
    its version, `settings` are those that must be the same on every node. With `only_asks` it is told whether it would
    be refused, and is not linked. `speaks` is the value of the function of that name.
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
    """A digest of the messages and records that two nodes must have in common to be linked, whatever their versions."""
    return spoken(0, Head)


def other_version(joins: Joins) -> str:
    """Why the node cannot be linked to this one, "" if it can: messages and records of both must be the same.

    Compares digests, not versions, so that nodes can be upgraded one after the other if messages and records are
    unchanged.
    """
    if joins.speaks == speaks():
        return ""
    return (
        f"it runs Sesame {joins.sesame}, whose messages or records are others than those of the writer's "
        f"{__version__}: install one version on every node"
    )


class Joined(msgspec.Struct, frozen=True, array_like=True):
    """The writer's answer: `agent` is the follower's number; `refused` says why it is not linked, "" if it is."""

    agent: int
    refused: str = ""


async def join(connected: socket.socket, joins: Joins) -> Joined:
    """Asks the writer to link this node. Raises `OSError`, `TimeoutError`, and `PlatformError` if it refuses."""
    async with asyncio.timeout(JOINS_WITHIN_S):
        await _say(connected, msgspec.msgpack.encode(joins))
        joined = await _hear(connected, Joined)
    if joined.refused:
        raise PlatformError(f"the writer of the cluster refuses this node: {joined.refused}")
    return joined


async def hear(connected: socket.socket) -> Joins:
    """Reads a node's request. Raises `OSError`, `TimeoutError`, and `PlatformError` if it cannot be read."""
    async with asyncio.timeout(JOINS_WITHIN_S):
        return await _hear(connected, Joins)


async def answer(connected: socket.socket, joined: Joined) -> None:
    """Sends the writer's answer. Raises `OSError` and `TimeoutError`."""
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
