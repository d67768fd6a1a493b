"""Sockets of an instance's network are made whatever the function does there, or fail in time.

Run by pytest, with sockets of this machine's own network.
"""

import asyncio
import contextlib
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from sesame.sandbox.jail.network import SocketMaker

pytestmark = pytest.mark.asyncio
PATIENCE_S = 60.0


@contextlib.contextmanager
def full(backlog: int = 4) -> Iterator[socket.socket]:
    """A socket that listens and whose backlog takes no more."""
    with contextlib.ExitStack() as closing:
        listening = closing.enter_context(socket.socket())
        listening.bind(("127.0.0.1", 0))
        listening.listen(backlog)
        listening.setblocking(False)
        for _ in range(backlog + 8):
            client = closing.enter_context(socket.socket())
            client.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                client.connect(listening.getsockname())
        yield listening


class Misled(socket.socket):
    """Listens at an address of its own, and says another one."""

    said: tuple[str, int] | None = None

    def getsockname(self) -> Any:
        return self.said or super().getsockname()


def misled() -> Misled:
    made = Misled()
    made.bind(("127.0.0.1", 0))
    made.listen()
    made.setblocking(False)
    return made


def seed() -> socket.socket:
    made = socket.socket()
    made.setblocking(False)
    return made


async def greeted(made: socket.socket) -> bytes:
    """What a server here says to the socket, which is as good as new."""
    loop = asyncio.get_running_loop()
    with socket.create_server(("127.0.0.1", 0)) as server, made:
        made.setblocking(False)
        await loop.sock_connect(made, server.getsockname())
        accepted = server.accept()[0]
        with accepted:
            accepted.sendall(b"hello")
            return await loop.sock_recv(made, 100)


async def test_a_full_backlog_is_emptied() -> None:
    with full() as listening:
        maker = SocketMaker(listening, seed())
        async with asyncio.timeout(PATIENCE_S):
            for _ in range(3):
                assert await greeted(await maker.make(PATIENCE_S)) == b"hello"
        maker.close()


async def test_what_stays_full_fails_in_time_and_says_so() -> None:
    # Another's backlog, which is not emptied here.
    with full() as other, misled() as own:
        own.said = other.getsockname()
        maker = SocketMaker(own, seed())
        async with asyncio.timeout(PATIENCE_S):
            with pytest.raises(TimeoutError, match=r"within 0[.]05 s: the function may keep connecting"):
                await maker.make(0.05)
            own.said = None
            assert await greeted(await maker.make(PATIENCE_S)) == b"hello"
        maker.close()


async def test_many_at_a_time_have_one_deadline_each() -> None:
    with full() as other, misled() as own:
        own.said = other.getsockname()
        maker = SocketMaker(own, seed())
        async with asyncio.timeout(PATIENCE_S):
            found = await asyncio.gather(*(maker.make(0.05) for _ in range(20)), return_exceptions=True)
        assert {type(each) for each in found} == {TimeoutError}
        maker.close()


async def test_a_socket_that_does_not_listen_any_more_is_told_at_once() -> None:
    with socket.socket() as bound, misled() as own:
        bound.bind(("127.0.0.1", 0))
        own.said = bound.getsockname()
        maker = SocketMaker(own, seed())
        async with asyncio.timeout(PATIENCE_S):
            with pytest.raises(ConnectionRefusedError):
                await maker.make(2 * PATIENCE_S)
        maker.close()
