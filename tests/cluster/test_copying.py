"""Bytes between two connections: all of them, in order, no more at a time than is held, and how either side ends."""

import asyncio
import contextlib
import hashlib
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from sesame.cluster import copying as cluster_copying
from sesame.cluster.copying import PIECE_BYTES, Copying
from sesame.http.listener import listening_socket


async def tcp_pair() -> tuple[socket.socket, socket.socket]:
    listening = listening_socket("127.0.0.1", 0)
    one = socket.socket()
    one.setblocking(False)
    await asyncio.get_running_loop().sock_connect(one, listening.getsockname())
    other, _address = listening.accept()
    other.setblocking(False)
    listening.close()
    return one, other


class Both:
    """A client and what answers it, with a `Copying` between them."""

    def __init__(self, client: socket.socket, near: socket.socket, far: socket.socket, server: socket.socket) -> None:
        self.client, self.server = client, server
        self.ended = asyncio.Event()
        self.times_ended = 0
        self.copying = Copying(near, far, bytearray(PIECE_BYTES), self._end)

    def _end(self) -> None:
        self.times_ended += 1
        self.ended.set()

    async def end(self) -> None:
        async with asyncio.timeout(60):
            await self.ended.wait()
        assert self.times_ended == 1


@asynccontextmanager
async def both() -> AsyncIterator[Both]:
    client, near = await tcp_pair()
    far, server = await tcp_pair()
    made = Both(client, near, far, server)
    yield made
    made.copying.abort()
    for each in (client, server):
        each.close()
    assert made.times_ended == 1
    assert near.fileno() == far.fileno() == -1


async def say(connected: socket.socket, data: bytes, *, last: bool = False) -> None:
    await asyncio.get_running_loop().sock_sendall(connected, data)
    if last:
        connected.shutdown(socket.SHUT_WR)


async def hear(connected: socket.socket, count: int | None = None) -> bytes:
    """So many bytes, or all to the end."""
    said = bytearray()
    async with asyncio.timeout(60):
        while count is None or len(said) < count:
            part = await asyncio.get_running_loop().sock_recv(connected, PIECE_BYTES)
            if not part:
                assert count is None
                break
            said += part
    return bytes(said)


async def test_both_ways_and_the_ends_of_either_side() -> None:
    async with both() as pair:
        pair.copying.start()
        await say(pair.client, b"question", last=True)
        assert await hear(pair.server) == b"question"
        # The client has said all, and hears still.
        await say(pair.server, b"answer 1, ")
        assert await hear(pair.client, 10) == b"answer 1, "
        assert pair.copying.answered_last
        await say(pair.server, b"answer 2", last=True)
        assert await hear(pair.client) == b"answer 2"
        await pair.end()


async def test_what_was_read_before_comes_first_however_much_it_is() -> None:
    first = bytes(range(256)) * 80_000
    async with both() as pair:
        pair.copying.start(first)
        saying = asyncio.ensure_future(say(pair.client, b"behind", last=True))
        said = await hear(pair.server)
        await saying
        assert hashlib.sha256(said).digest() == hashlib.sha256(first + b"behind").digest()
        await say(pair.server, b"", last=True)
        assert await hear(pair.client) == b""
        await pair.end()


async def test_much_both_ways_at_the_same_time() -> None:
    up, down = bytes(range(251)) * 40_000, bytes(range(241)) * 60_000
    async with both() as pair:
        pair.copying.start()
        heard = await asyncio.gather(
            hear(pair.server),
            hear(pair.client),
            say(pair.client, up, last=True),
            say(pair.server, down, last=True),
        )
        assert heard[0] == up
        assert heard[1] == down
        await pair.end()
        assert pair.copying.bytes_passed == len(up) + len(down)


async def filled(connected: socket.socket) -> int:
    """How much is taken until nothing more is for a while; every turn the loop passes on what it can."""
    sent, quiet = 0, 0
    while quiet < 20:
        try:
            sent += connected.send(bytes(PIECE_BYTES))
            quiet = 0
        except BlockingIOError:
            quiet += 1
            await asyncio.sleep(0.005)
    return sent


async def test_a_side_that_takes_nothing_holds_up_the_other_and_nothing_is_gathered() -> None:
    async with both() as pair:
        pair.copying.start()
        sent = await filled(pair.client)
        # The rest is in buffers of the kernel.
        assert 0 < pair.copying.held_bytes <= PIECE_BYTES
        await say(pair.server, b"the other way goes on")
        assert await hear(pair.client, 21) == b"the other way goes on"
        pair.client.shutdown(socket.SHUT_WR)
        assert len(await hear(pair.server)) == sent
        assert pair.copying.held_bytes == 0


@pytest.mark.parametrize("who", ["client", "server"])
async def test_a_reset_of_one_side_is_a_reset_of_the_other(who: str) -> None:
    async with both() as pair:
        pair.copying.start()
        await say(pair.client, b"question")
        await hear(pair.server, 8)
        broken, other = (pair.client, pair.server) if who == "client" else (pair.server, pair.client)
        broken.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
        broken.close()
        await pair.end()
        with pytest.raises(ConnectionResetError):
            await hear(other)


async def test_a_side_that_is_gone_is_found_while_it_is_held_up() -> None:
    async with both() as pair:
        pair.copying.start()
        await filled(pair.client)
        pair.server.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
        pair.server.close()
        await pair.end()
        with pytest.raises((ConnectionResetError, BrokenPipeError)):
            await hear(pair.client)


async def test_a_client_that_stays_after_the_last_answer_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster_copying, "HALF_CLOSED_S", 0.05)
    async with both() as pair:
        pair.copying.start()
        await say(pair.server, b"answer", last=True)
        pair.server.close()
        assert await hear(pair.client) == b"answer"
        await pair.end()


async def test_a_client_that_still_sends_after_the_last_answer_is_heard(monkeypatch: pytest.MonkeyPatch) -> None:
    async with both() as pair:
        pair.copying.start()
        await say(pair.server, b"too large", last=True)
        assert await hear(pair.client) == b"too large"
        await say(pair.client, b"rest of the body", last=True)
        assert await hear(pair.server) == b"rest of the body"
        await pair.end()


async def test_an_abort_is_a_reset_on_both_sides_and_happens_once() -> None:
    async with both() as pair:
        pair.copying.start()
        pair.copying.abort()
        pair.copying.abort()
        pair.copying.close()
        for each in (pair.client, pair.server):
            with pytest.raises(ConnectionResetError):
                await hear(each)


async def test_many_at_a_time() -> None:
    async def one(number: int) -> bytes:
        async with both() as pair:
            pair.copying.start(b"%d:" % number)
            await say(pair.client, b"x" * number, last=True)
            said = await hear(pair.server)
            await say(pair.server, said, last=True)
            heard = await hear(pair.client)
            await pair.end()
            return heard

    assert await asyncio.gather(*map(one, range(200))) == [b"%d:" % n + b"x" * n for n in range(200)]


async def test_a_client_that_has_gone_already_is_no_failure() -> None:
    async with both() as pair:
        pair.client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
        pair.client.close()
        pair.copying.start(b"question")
        await pair.end()
        with contextlib.suppress(ConnectionResetError):
            assert await hear(pair.server) in (b"", b"question")
