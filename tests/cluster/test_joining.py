"""The first words on a link between nodes: any bytes end that one connection, and in no other way than an end does."""

import asyncio
import contextlib
import socket

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sesame.cluster.joining import Joined, Joins, answer, hear, join
from sesame.model.errors import PlatformError

JOINS = Joins("n", "10.0.0.1:9010", 1, 768, None)
# No UTF-8 where a text is expected; nested beyond what a decoder follows; a size that nobody keeps in memory.
NO_TEXT = msgspec.msgpack.encode([0, "x"])[:-1] + b"\xff"
NESTED = b"\x91" * 60_000
HUGE = (2**32 - 1).to_bytes(4, "big")


def framed(said: bytes) -> bytes:
    return len(said).to_bytes(4, "big") + said


async def pair() -> tuple[socket.socket, socket.socket]:
    ours, theirs = socket.socketpair()
    for each in (ours, theirs):
        each.setblocking(False)
    return ours, theirs


@given(st.one_of(st.binary(max_size=200), st.binary(max_size=200).map(framed)))
@example(framed(NO_TEXT))
@example(framed(NESTED))
@example(HUGE)
@example(b"")
def test_other_bytes_are_no_word_of_a_node(data: bytes) -> None:
    async def heard() -> None:
        for listens in (hear, lambda connected: join(connected, JOINS)):
            ours, theirs = await pair()
            with ours, theirs:
                await asyncio.get_running_loop().sock_sendall(ours, data)
                ours.shutdown(socket.SHUT_WR)
                with contextlib.suppress(OSError, PlatformError):
                    assert isinstance(await listens(theirs), Joins | Joined)

    asyncio.run(heard())


async def test_a_node_is_told_why_it_is_refused() -> None:
    ours, theirs = await pair()
    with ours, theirs:
        joining = asyncio.ensure_future(join(ours, JOINS))
        assert await hear(theirs) == JOINS
        await answer(theirs, Joined(0, "its epoch is 2"))
        with pytest.raises(PlatformError, match="refuses this node: its epoch is 2"):
            await joining
