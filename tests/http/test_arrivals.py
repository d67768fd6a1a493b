"""What instances have of a server: connections at a rate, and room that they leave each other and everybody else.

Run by pytest, with clocks that a test moves for the rate alone.
"""

import asyncio
import socket
import ssl
from collections.abc import Callable
from contextlib import ExitStack

import pytest
from tests.http.harness import GET, Endpoint, serving, told
from tests.support.fakes import FakeClocks

from sesame.http.interface import Exchange, TooManyBodies, WebSocket
from sesame.http.limits import Limits
from sesame.http.listener import HANDSHAKE_UNITS
from sesame.http.server import HttpServer
from sesame.model.fair_rate import TURN_S, FairRate, Rates

PATIENCE_S = 60.0
BURST = 4


async def answer(exchange: Exchange) -> None:
    exchange.send_whole(200, (), b"", b"")


def listening() -> socket.socket:
    made = socket.create_server(("127.0.0.1", 0), backlog=100)
    made.setblocking(False)
    return made


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not condition():  # noqa: ASYNC110 (the kernel does it)
            await asyncio.sleep(0.001)


async def test_connections_beyond_the_rate_wait_and_others_do_not() -> None:
    clocks = FakeClocks()
    arrivals = FairRate(clocks, Rates(each_per_s=100, each_burst=BURST, all_per_s=1000, all_burst=100))
    async with serving(Endpoint(answer), arrivals=arrivals) as server:
        # Two sockets of one instance, as two endpoints have, and one of another.
        busy, second, quiet = listening(), listening(), listening()
        ends = [server.serve(busy, "busy"), server.serve(second, "busy"), server.serve(quiet, "quiet")]
        with ExitStack() as closing:
            for each in (busy, second):
                for _ in range(10):
                    closing.enter_context(socket.create_connection(each.getsockname()))
            await until(lambda: server.connections == BURST)
            closing.enter_context(socket.create_connection(quiet.getsockname()))
            await until(lambda: server.connections == BURST + 1)
            # From outside there is no such bound.
            for _ in range(3 * BURST):
                assert (await told(server, GET)).startswith(b"HTTP/1.1 200")
            await until(lambda: server.connections == BURST + 1)
            while server.connections < 20 + 1:
                before = server.connections
                clocks.advance(TURN_S)
                await until(lambda before=before: server.connections > before)  # type: ignore[misc]
                assert server.connections - before <= 2
        for end in ends:
            end()


async def test_a_socket_that_waits_can_be_closed() -> None:
    clocks = FakeClocks()
    arrivals = FairRate(clocks, Rates(each_per_s=100, each_burst=1, all_per_s=1000, all_burst=100))
    async with serving(Endpoint(answer), arrivals=arrivals) as server:
        end = server.serve(busy := listening(), "busy")
        with ExitStack() as closing:
            for _ in range(5):
                closing.enter_context(socket.create_connection(busy.getsockname()))
            await until(lambda: server.connections == 1 and len(clocks.timers) == 1)
            end()
            clocks.advance(1.0)
            assert (server.connections, busy.fileno()) == (1, -1)


async def test_instances_with_slow_bodies_leave_connections_to_the_others() -> None:
    async def read(exchange: Exchange) -> None:
        await exchange.read_body(1_000_000)
        exchange.send_whole(200, (), b"", b"")

    total = 40
    async with serving(Endpoint(read), Limits(connections=total, connections_per_peer=30)) as server:
        sockets = {name: listening() for name in ("first", "second", "quiet")}
        ends = [server.serve(each, name) for name, each in sockets.items()]
        with ExitStack() as closing:
            for name in ("first", "second"):
                for _ in range(total):
                    client = closing.enter_context(socket.create_connection(sockets[name].getsockname()))
                    client.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\nslow")
            for _ in range(5):
                quiet = closing.enter_context(socket.create_connection(sockets["quiet"].getsockname()))
                quiet.setblocking(False)
                async with asyncio.timeout(PATIENCE_S):
                    await asyncio.get_running_loop().sock_sendall(quiet, GET)
                    said = await asyncio.get_running_loop().sock_recv(quiet, 100)
                assert said.startswith(b"HTTP/1.1 200")
            assert (await told(server, GET)).startswith(b"HTTP/1.1 200")
            assert server.connections < total
        for end in ends:
            end()


async def test_instances_with_slow_bodies_leave_memory_to_the_others() -> None:
    size, budget = 3_000_000, 24_000_000
    reading: list[bytes] = []

    async def read(exchange: Exchange) -> None:
        try:
            reading.append(await exchange.read_body(size))
        except TooManyBodies:
            exchange.send_whole(503, (), b"", b"")
            return
        exchange.send_whole(200, (), b"", b"")

    head = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % size
    async with serving(Endpoint(read), Limits(bodies_bytes=budget)) as server:
        sockets = {name: listening() for name in ("first", "second", "quiet")}
        ends = [server.serve(each, name) for name, each in sockets.items()]
        with ExitStack() as closing:
            for name in ("first", "second"):
                for _ in range(10):
                    client = closing.enter_context(socket.create_connection(sockets[name].getsockname()))
                    client.sendall(head + bytes(20_000))
            await until(lambda: server.connections == 20)
            reader, writer = await asyncio.open_connection(*sockets["quiet"].getsockname())
            writer.write(head + bytes(size))
            async with asyncio.timeout(PATIENCE_S):
                assert (await reader.readline()).startswith(b"HTTP/1.1 200")
            writer.close()
            assert reading == [bytes(size)]
        await until(lambda: server.body_bytes_left == budget)
        for end in ends:
            end()


class WithWebSockets(Endpoint):
    def __init__(self) -> None:
        super().__init__(answer)
        self.open = 0

    async def serve_websocket(self, websocket: WebSocket) -> None:
        websocket.accept(())
        self.open += 1
        await websocket.receive()


async def test_a_websocket_of_an_instance_counts_as_the_instances() -> None:
    endpoint = WithWebSockets()
    handshake = (
        b"GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
        b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
    )
    async with serving(endpoint, Limits(connections_per_peer=2)) as server:
        end = server.serve(of_instance := listening(), "busy")
        with ExitStack() as closing:
            for number in (1, 2):
                client = closing.enter_context(socket.create_connection(of_instance.getsockname()))
                client.sendall(handshake)
                await until(lambda number=number: endpoint.open == number)  # type: ignore[misc]
            # They are not of whoever else has the address.
            assert (await told(server, GET)).startswith(b"HTTP/1.1 200")
            third = closing.enter_context(socket.create_connection(of_instance.getsockname()))
            third.setblocking(False)
            async with asyncio.timeout(PATIENCE_S):
                await asyncio.get_running_loop().sock_sendall(third, GET)
                assert (await asyncio.get_running_loop().sock_recv(third, 100)).startswith(b"HTTP/1.1 503")
        end()


@pytest.mark.parametrize(("tls", "units"), [(None, 1.0), (ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), HANDSHAKE_UNITS)])
async def test_connections_that_are_made_inside_the_process_count_as_arrivals(
    tls: ssl.SSLContext | None, units: float
) -> None:
    arrivals = FairRate(FakeClocks(), Rates(each_per_s=100, each_burst=3 * units, all_per_s=1000, all_burst=100))
    share = arrivals.of("busy")
    async with serving(Endpoint(answer), arrivals=arrivals, tls=tls) as server:
        for _ in range(3):
            assert share.allows()
            ours, theirs = socket.socketpair()
            server.take(theirs, "busy")
            ours.close()
        assert not share.allows()
        assert arrivals.of("quiet").allows()


async def told_inside(server: HttpServer, peer: str, request: bytes) -> bytes:
    ours, theirs = socket.socketpair()
    server.take(theirs, peer)
    reader, writer = await asyncio.open_unix_connection(sock=ours)
    writer.write(request)
    try:
        async with asyncio.timeout(PATIENCE_S):
            return await reader.read()
    finally:
        writer.close()


async def test_an_instance_without_a_connection_gets_one_while_all_others_are_idle() -> None:
    async with serving(Endpoint(answer), Limits(connections=4, connections_per_peer=4)) as server:
        with ExitStack() as closing:
            for _ in range(4):
                closing.enter_context(socket.create_connection(("127.0.0.1", server.port)))
            await until(lambda: server.connections == 4)
            assert (await told_inside(server, "first", GET)).startswith(b"HTTP/1.1 200")


async def test_both_ends_of_a_connection_inside_have_the_servers_address() -> None:
    seen: list[tuple[tuple[str, int], tuple[str, int]]] = []

    async def look(exchange: Exchange) -> None:
        seen.append((exchange.request.client, exchange.request.server))
        exchange.send_whole(200, (), b"", b"")

    async with serving(Endpoint(look)) as server:
        await told_inside(server, "first", GET)
        assert seen == [(("127.0.0.1", 0), ("127.0.0.1", server.port))]
