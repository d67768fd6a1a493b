"""Messages and descriptors between two processes, over a real pair of sockets."""

import asyncio
import contextlib
import os
import socket

import pytest

from sesame.agents import messages as m
from sesame.agents.link import FRAME_BYTES_MAX, Link, framed, pair
from sesame.http.moving import Arrived


class Heard:
    """What one end has taken, and how often it has heard of the other's end."""

    def __init__(self) -> None:
        self.messages: list[m.Message] = []
        self.fds: list[list[int]] = []
        self.ends = 0
        self.changed = asyncio.Event()

    def take(self, message: m.Message, fds: list[int]) -> None:
        self.messages.append(message)
        self.fds.append(fds.copy())
        fds.clear()
        self.changed.set()

    def lost(self) -> None:
        self.ends += 1
        self.changed.set()

    async def until(self, count: int, ends: int = 0) -> None:
        async with asyncio.timeout(60):
            while len(self.messages) < count or self.ends < ends:
                self.changed.clear()
                await self.changed.wait()


async def test_messages_come_in_order_and_descriptors_with_theirs() -> None:
    ours, theirs = pair()
    here, there = Heard(), Heard()
    sender, receiver = Link(ours, here.take, here.lost), Link(theirs, there.take, there.lost)
    pipes = [os.pipe() for _ in range(20)]
    sent: list[m.Message] = []
    for number, (reading, writing) in enumerate(pipes):
        os.write(writing, b"%d" % number)
        os.close(writing)
        large = m.Request(1, Arrived(bytes([number]) * (number * 40_000), number, True))
        sender.send(large, [reading])
        sender.send(m.Gone(f"c-{number}"))
        sent += [large, m.Gone(f"c-{number}")]
    await there.until(len(sent))
    assert there.messages == sent
    for number, fds in enumerate(there.fds[::2]):
        (fd,) = fds
        assert os.read(fd, 10) == b"%d" % number
        os.close(fd)
    assert there.fds[1::2] == [[]] * len(pipes)
    assert sender.waiting_bytes == 0
    sender.close()
    receiver.close()


async def test_the_end_of_one_side_is_heard_once_and_after_what_it_has_said() -> None:
    ours, theirs = pair()
    here, there = Heard(), Heard()
    sender, receiver = Link(ours, here.take, here.lost), Link(theirs, there.take, there.lost)
    sender.send(m.Gone("c-1"))
    sender.close()
    await there.until(1, ends=1)
    assert there.messages == [m.Gone("c-1")]
    receiver.close()
    sender.close()
    receiver.send(m.Gone("c-2"), [os.open(os.devnull, os.O_RDONLY)])
    assert (here.ends, there.ends) == (1, 1)


async def test_what_nobody_waits_for_leaves_in_order_with_the_next_that_somebody_does() -> None:
    ours, theirs = pair()
    here, there = Heard(), Heard()
    sender, receiver = Link(ours, here.take, here.lost), Link(theirs, there.take, there.lost)
    sender.send(m.Gone("c-1"), soon=False)
    sender.send(m.Gone("c-2"))
    sender.send(m.Gone("c-3"), soon=False)
    await there.until(3)
    assert there.messages == [m.Gone("c-1"), m.Gone("c-2"), m.Gone("c-3")]
    sender.close()
    receiver.close()


@pytest.mark.parametrize(
    "bytes_",
    [
        b"\0\0\0\2\0\xc1\xc1",
        (FRAME_BYTES_MAX + 1).to_bytes(4, "big") + b"\0",
        framed(m.Gone("c-2"), 1),
        framed(m.Request(1, Arrived(b"", 0)), 0),
        framed(m.Request(1, Arrived(b"", 0)), 1),
        framed(m.Connections("port"), 2),
    ],
    ids=[
        "no message",
        "too large",
        "with a descriptor",
        "without its descriptor",
        "that did not come",
        "nor did these",
    ],
)
async def test_what_is_no_message_ends_that_one_link(bytes_: bytes) -> None:
    ours, theirs = pair()
    there = Heard()
    receiver = Link(theirs, there.take, there.lost)
    with ours:
        ours.send(framed(m.Gone("c-1"), 0) + bytes_)
        await there.until(1, ends=1)
        assert there.messages == [m.Gone("c-1")]
        ours.settimeout(60.0)
        with contextlib.suppress(ConnectionResetError):
            assert ours.recv(1) == b"", "the other end is closed"
    receiver.close()


async def test_descriptors_of_what_is_no_message_are_closed() -> None:
    ours, theirs = pair()
    there = Heard()
    Link(theirs, there.take, there.lost)
    reading, writing = os.pipe()
    with ours:
        socket.send_fds(ours, [framed(m.Gone("c-1"), 1)], [writing])
        os.close(writing)
        await there.until(0, ends=1)
    assert os.read(reading, 1) == b"", "nobody has the other end any more"
    os.close(reading)


async def test_descriptors_that_a_failing_receiver_has_not_taken_are_closed() -> None:
    ours, theirs = pair()
    here, there = Heard(), Heard()

    def take(message: m.Message, fds: list[int]) -> None:
        there.take(message, [fds.pop(0)])
        raise RuntimeError("it fails after the first of two")

    sender, receiver = Link(ours, here.take, here.lost), Link(theirs, take, there.lost)
    (kept, keeps), (left, leaves) = os.pipe(), os.pipe()
    sender.send(m.Connections("port"), [keeps, leaves])
    await there.until(1)
    await asyncio.sleep(0)
    os.set_blocking(left, False)
    assert os.read(left, 1) == b"", "nobody has the other end any more"
    ((fd,),) = there.fds
    os.write(fd, b"1")
    assert os.read(kept, 1) == b"1"
    for each in (fd, kept, left):
        os.close(each)
    sender.close()
    receiver.close()
