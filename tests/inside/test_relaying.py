"""Connections from inside a network: how many, when they are closed, and what happens without descriptors."""

import asyncio
import errno
import socket
from typing import NoReturn

import pytest

from sesame.inside import relaying
from sesame.inside.relaying import Acceptor, closing

SAID = b"x" * 60_000
PATIENCE_S = 30.0


async def test_a_connection_counts_until_all_is_taken() -> None:
    ours, theirs = socket.socketpair()
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    for each in (ours, theirs):
        each.setblocking(False)
    _reader, writer = await asyncio.open_connection(sock=ours)

    async def say() -> None:
        writer.write(SAID)

    working = asyncio.create_task(closing(writer, say()))
    for _ in range(10):
        await asyncio.sleep(0)
    assert not working.done()
    taken = b""
    with theirs:
        while piece := await asyncio.wait_for(asyncio.get_running_loop().sock_recv(theirs, 65536), PATIENCE_S):
            taken += piece
    assert taken == SAID
    await asyncio.wait_for(working, PATIENCE_S)


class Exhausted(socket.socket):
    """Has a connection that wants to be accepted, and no descriptor for it."""

    tries = 0

    def accept(self) -> NoReturn:
        self.tries += 1
        raise OSError(errno.EMFILE, "Too many open files")


async def test_without_descriptors_the_event_loop_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relaying, "PAUSE_S", 3600.0)
    with Exhausted() as listening, socket.socket() as client:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        listening.setblocking(False)
        client.connect(listening.getsockname())
        acceptor = Acceptor(listening, lambda _reader, _writer: asyncio.sleep(0))
        for _ in range(100):
            await asyncio.sleep(0)
        assert listening.tries == 1
        acceptor.end()
