"""The first message of a tunnel, from bytes that a node has sent and from those that it never would."""

import asyncio
import socket

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sesame.cluster.heads import HEAD_BYTES_MAX, Endpoint, Head, Inside, Request, UnreadableHead, framed, read_head
from sesame.http.shared import Way
from sesame.sandbox.network import Listen

ADDRESS = st.tuples(st.text(max_size=40), st.integers(0, 65535))
WAYS = st.builds(Way, client=ADDRESS, server=ADDRESS, machines=st.integers(0, 10))
HEADS: st.SearchStrategy[Head] = st.one_of(
    st.builds(Request, moves=st.integers(0, 9), proven=st.booleans(), way=WAYS),
    st.builds(Endpoint, name=st.text(max_size=40), way=WAYS),
    st.builds(
        Inside,
        listen=st.builds(
            Listen, st.sampled_from(("tcp", "udp", "raw")), st.text(max_size=40), st.integers(0, 65535), st.booleans()
        ),
        instance=st.text(max_size=100),
    ),
)


async def read_of(data: bytes) -> tuple[Head, bytes]:
    """The head, and what is left to read behind it."""
    ours, theirs = socket.socketpair()
    for each in (ours, theirs):
        each.setblocking(False)
    with ours, theirs:
        ours.send(data)
        ours.shutdown(socket.SHUT_WR)
        head = await read_head(theirs)
        return head, await asyncio.get_running_loop().sock_recv(theirs, 1000)


@given(HEADS, st.binary(max_size=100))
def test_a_head_is_read_and_nothing_behind_it(head: Head, behind: bytes) -> None:
    assert asyncio.run(read_of(framed(head) + behind)) == (head, behind)


@given(st.binary(max_size=200))
def test_other_bytes_are_no_head(data: bytes) -> None:
    async def read() -> None:
        try:
            head, _behind = await read_of(data)
        except (OSError, UnreadableHead):
            return
        # Then they are that head.
        assert msgspec.msgpack.decode(data[2 : 2 + int.from_bytes(data[:2], "big")])[0] == type(head).__name__

    asyncio.run(read())


@given(HEADS, st.data())
def test_a_head_that_ends_early_is_a_connection_that_has_ended(head: Head, data: st.DataObject) -> None:
    frame = framed(head)
    part = frame[: data.draw(st.integers(0, len(frame) - 1))]
    with pytest.raises(ConnectionResetError):
        asyncio.run(read_of(part))


def test_a_huge_head_is_refused_before_it_is_read() -> None:
    with pytest.raises(UnreadableHead, match=f"expected at most {HEAD_BYTES_MAX}"):
        asyncio.run(read_of((HEAD_BYTES_MAX + 1).to_bytes(2, "big") + b"x"))


def test_a_head_of_another_version_is_refused_with_what_to_do() -> None:
    body = msgspec.msgpack.encode(["Newer", 1])
    with pytest.raises(UnreadableHead, match="install one Sesame on all nodes"):
        asyncio.run(read_of(len(body).to_bytes(2, "big") + body))
