"""The memory of answers that clients do not take is bounded: whoever takes least is cut off, and nobody else."""

import asyncio
import socket
from collections.abc import AsyncIterator
from typing import Any

import pytest
from tests.http.harness import TIMEOUT_S, serving, until

from sesame.http.interface import Exchange
from sesame.http.limits import Limits
from sesame.http.server import HttpServer
from sesame.http.unsent import Unsent

GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
# Far more than the kernel holds for a connection.
ANSWER = bytes(16 * 1024 * 1024)
LIMITS = Limits(unsent_bytes=20 * 1024 * 1024)


class Server:
    """Answers every request with ANSWER."""

    def __init__(self) -> None:
        self.http: HttpServer
        self.answers = 0

    async def serve(self, exchange: Exchange) -> None:
        exchange.send_whole(200, (), b"", ANSWER)
        self.answers += 1


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    server = Server()
    async with serving(server.serve, LIMITS) as server.http:
        yield server


async def asking(server: Server) -> socket.socket:
    """A client that takes nothing yet of its answer, which waits."""
    client = socket.socket()
    client.setblocking(False)
    loop = asyncio.get_running_loop()
    await loop.sock_connect(client, ("127.0.0.1", server.http.port))
    answers = server.answers
    await loop.sock_sendall(client, GET)
    await until(lambda: server.answers > answers, "the answer")
    return client


async def taken(client: socket.socket) -> int:
    """How many bytes came until the end, which may be a reset."""
    loop, count = asyncio.get_running_loop(), 0
    async with asyncio.timeout(TIMEOUT_S):
        while count < len(ANSWER):
            try:
                piece = await loop.sock_recv(client, 1024 * 1024)
            except ConnectionResetError:
                break
            if not piece:
                break
            count += len(piece)
    return count


async def test_who_takes_nothing_is_cut_off_for_others(server: Server) -> None:
    clients: list[socket.socket] = []
    for _ in range(5):
        clients.append(await asking(server))
        # So that what this one takes is known when the next comes.
        server.http.tick()
    assert await taken(clients[-1]) >= len(ANSWER)
    for client in clients[:-1]:
        assert await taken(client) < len(ANSWER)
    for client in clients:
        client.close()


async def test_who_takes_his_answer_is_not_cut_off(server: Server) -> None:
    silent = await asking(server)
    server.http.tick()
    for _ in range(5):
        reading = await asking(server)
        assert await taken(reading) >= len(ANSWER)
        reading.close()
    assert await taken(silent) < len(ANSWER)
    silent.close()


class Slow:
    """A client that takes nothing; counts how often it is looked at."""

    taken_bytes_per_s = 0.0

    def __init__(self) -> None:
        self.transport: Any = self
        self.looks = self.held = 0

    def get_write_buffer_size(self) -> int:
        self.looks += 1
        return self.held

    def abort(self) -> None:
        self.held = 0


def test_near_the_bound_clients_are_not_looked_through_at_each_write() -> None:
    unsent, clients = Unsent(1000), [Slow() for _ in range(10)]
    for client in clients:
        client.held = 100
        unsent.begins(client)
        unsent.grows(100)
    for _ in range(500):
        # Taken at once.
        unsent.grows(1)
    assert clients[0].looks <= 500 / (1000 / 16) + 1
    assert all(client.held for client in clients)
