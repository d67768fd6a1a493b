"""An agent that sends its supervisor what is no message costs that agent, never the supervisor, and no descriptor."""

import os
import socket
from collections.abc import Iterator

import pytest

from sesame.agents import messages as m
from sesame.agents.link import FRAME_BYTES_MAX, framed, pair
from sesame.agents.supervised import Supervised


@pytest.fixture
def agent() -> Iterator[tuple[Supervised, socket.socket]]:
    ours, theirs = pair()
    ours.setblocking(False)
    supervised = Supervised(2)
    supervised.began(0, ours)
    with theirs:
        yield supervised, theirs
    supervised.disconnect()


@pytest.mark.parametrize(
    ("bytes_", "why"),
    [
        (b"\0\0\0\2\0\xc1\xc1", "malformed"),
        (framed(m.Ready(), 1), "names 1 descriptors"),
        (framed(m.Connections("port"), 3), "names 3 descriptors, and 0 came"),
        (framed(m.Gone("c-1"), 0), "Gone is not for the supervisor"),
        ((FRAME_BYTES_MAX + 1).to_bytes(4, "big") + b"\0", "bytes are announced"),
    ],
)
def test_what_is_no_message_is_the_end_of_the_agent_and_what_came_before_is_heard(
    agent: tuple[Supervised, socket.socket], bytes_: bytes, why: str
) -> None:
    supervised, theirs = agent
    theirs.send(framed(m.Here(), 0) + bytes_)
    assert supervised.hear() == [(m.Here(), [])]
    assert why in supervised.garbled


def test_descriptors_of_what_is_no_message_are_closed(agent: tuple[Supervised, socket.socket]) -> None:
    supervised, theirs = agent
    reading, writing = os.pipe()
    socket.send_fds(theirs, [framed(m.Ready(), 1)], [writing])
    os.close(writing)
    supervised.hear()
    supervised.disconnect()
    assert os.read(reading, 1) == b"", "nobody has the other end any more"
    os.close(reading)


def test_an_agent_that_is_started_again_is_heard(agent: tuple[Supervised, socket.socket]) -> None:
    supervised, theirs = agent
    theirs.send(framed(m.Gone("c-1"), 0))
    supervised.hear()
    assert supervised.garbled
    supervised.ended()
    ours, others = pair()
    ours.setblocking(False)
    with others:
        supervised.began(0, ours)
        others.send(framed(m.Ready(), 0))
        assert (supervised.hear(), supervised.garbled) == ([(m.Ready(), [])], "")
