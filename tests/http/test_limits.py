"""Silence, slowness, numbers and sizes: each has a limit, on a clock that the test moves."""

import asyncio
import gc
import resource
import socket
from collections.abc import Iterator

import psutil
import pytest
from tests.http.harness import GET, TIMEOUT_S, Endpoint, all_of, echo, serving, told, until
from tests.http.wire import Talk

from sesame.http.interface import BodyTooLarge, Exchange, TooManyBodies
from sesame.http.limits import BODIES_MIN_BYTES, Limits, for_host
from sesame.http.server import HttpServer

HEAD = b"POST / HTTP/1.1\r\nHost: x\r\n"
LIMITS = Limits(
    first_request_s=10,
    keep_alive_s=30,
    head_s=5,
    body_grace_s=8,
    body_bytes_per_s=100,
    answer_grace_s=8,
    answer_bytes_per_s=100,
    linger_s=4,
    websocket_ping_s=10_000,
)


async def never(_exchange: Exchange) -> None:
    await asyncio.Event().wait()


async def test_a_connection_that_says_nothing_is_closed() -> None:
    talk = Talk(echo, LIMITS)
    talk.passes(9)
    assert not talk.wire.closed
    talk.passes(3)
    assert talk.wire.closed
    assert talk.wire.written == b""
    await talk.end()


async def test_an_idle_connection_is_closed_and_a_busy_one_is_not() -> None:
    go_on = asyncio.Event()

    async def serve(exchange: Exchange) -> None:
        if exchange.request.path == "/slow":
            await go_on.wait()
        exchange.send_whole(200, (), b"", b"")

    talk = Talk(serve, LIMITS)
    talk.say(b"GET / HTTP/1.1\r\nHost: x\r\n\r\nGET /slow HTTP/1.1\r\nHost: x\r\n\r\n")
    await talk.turns()
    talk.passes(1000)
    assert not talk.wire.closed
    go_on.set()
    await talk.turns()
    talk.passes(29)
    assert not talk.wire.closed
    talk.passes(3)
    assert talk.wire.closed
    await talk.end()


@pytest.mark.parametrize("start", [b"G", b"GET / HTTP/1.1\r\nHost: x\r\n"])
async def test_a_head_must_come_in_time_however_it_drips(start: bytes) -> None:
    talk = Talk(echo, LIMITS)
    talk.say(start)
    for _ in range(8):
        talk.passes(1)
        if not talk.wire.ended:
            talk.say(b"a")
    assert talk.wire.written.startswith(b"HTTP/1.1 408 ") or b"400" in talk.wire.written[:20]
    talk.passes(8)
    assert talk.wire.closed
    await talk.end()


async def test_blank_lines_do_not_keep_a_connection() -> None:
    talk = Talk(echo, LIMITS)
    for _ in range(14):
        talk.say(b"\r\n")
        talk.passes(1)
    assert talk.wire.closed
    await talk.end()


@pytest.mark.parametrize("framing", [b"Content-Length: 100000\r\n\r\n", b"Transfer-Encoding: chunked\r\n\r\nffff\r\n"])
async def test_a_body_must_keep_coming(framing: bytes) -> None:
    talk = Talk(echo, LIMITS)
    talk.say(HEAD + framing)
    await talk.turns()
    for _ in range(20):
        # Ten bytes a second are less than a hundred.
        talk.passes(1)
        if not talk.wire.ended:
            talk.say(b"a" * 10)
    assert talk.wire.written.startswith(b"HTTP/1.1 408 ")
    await talk.turns()
    assert not talk.shared.running
    await talk.end()


async def test_a_body_that_keeps_coming_may_take_long() -> None:
    talk = Talk(echo, LIMITS)
    talk.say(HEAD + b"Content-Length: 100000\r\n\r\n")
    for _ in range(1000):
        talk.passes(1)
        talk.say(b"a" * 100)
        await asyncio.sleep(0)
    await talk.turns()
    assert talk.wire.written.startswith(b"HTTP/1.1 200 ")
    await talk.end()


async def test_an_endpoint_that_reads_slowly_is_not_its_client_s_fault() -> None:
    talk = Talk(never, LIMITS)
    talk.say(HEAD + b"Content-Length: 1000000\r\n\r\n" + bytes(100_000))
    await talk.turns()
    assert talk.wire.paused
    talk.passes(1000)
    assert not talk.wire.closed
    assert talk.wire.written == b""
    await talk.end()


async def test_a_client_that_waits_for_100_is_not_slow() -> None:
    talk = Talk(never, LIMITS)
    talk.say(HEAD + b"Expect: 100-continue\r\nContent-Length: 1000\r\n\r\n")
    await talk.turns()
    talk.passes(1000)
    assert not talk.wire.closed
    await talk.end()


async def test_a_client_that_does_not_take_its_answer_is_cut_off() -> None:
    talk = Talk(echo, LIMITS)
    talk.say(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    await talk.turns()
    talk.wire.waiting = 30
    talk.passes(6)
    assert not talk.wire.aborted
    talk.passes(4)
    assert talk.wire.aborted
    await talk.end()


async def test_a_client_that_takes_its_answer_steadily_is_not() -> None:
    size = 100_000

    async def serve(exchange: Exchange) -> None:
        exchange.send_whole(200, (), b"", bytes(size))

    talk = Talk(serve, LIMITS)
    talk.say(GET)
    await talk.turns()
    for left in range(size, 0, -200):
        talk.wire.waiting = left
        talk.passes(1)
    assert not talk.wire.aborted
    await talk.end()


async def test_after_the_last_answer_a_client_has_some_time_to_finish_sending() -> None:
    async def serve(exchange: Exchange) -> None:
        exchange.send_whole(429, (), b"", b"")

    talk = Talk(serve, LIMITS)
    talk.say(HEAD + b"Content-Length: 1000000\r\n\r\n")
    await talk.turns()
    assert talk.wire.ended
    talk.say(bytes(1000))
    talk.passes(3)
    assert not talk.wire.closed
    talk.passes(3)
    assert talk.wire.closed
    await talk.end()


async def test_after_the_last_answer_only_so_much_is_read() -> None:
    async def serve(exchange: Exchange) -> None:
        exchange.send_whole(429, (), b"", b"")

    talk = Talk(serve, Limits(linger_bytes=10_000))
    talk.say(HEAD + b"Content-Length: 1000000\r\n\r\n")
    await talk.turns()
    talk.say(bytes(9_000))
    assert not talk.wire.closed
    talk.say(bytes(2_000))
    assert talk.wire.closed
    await talk.end()


async def test_time_limits_hold_on_a_real_socket() -> None:
    limits = Limits(first_request_s=0.1, head_s=0.1, keep_alive_s=0.1, body_grace_s=0.1, refused_s=0.1, linger_s=0.1)
    async with serving(echo, limits) as server:
        for said, answer in (
            (b"", b""),
            (b"GET /", b"HTTP/1.1 408 "),
            (HEAD + b"Content-Length: 9\r\n\r\n", b"HTTP/1.1 408 "),
        ):
            raw = await told(server, said)
            assert raw[:13] == answer
        raw = await told(server, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert raw.startswith(b"HTTP/1.1 200 ")
        await until(lambda: not server.connections, "the end of every connection")


# Bodies.


async def test_an_announced_body_that_is_too_large_is_not_read() -> None:
    async def serve(exchange: Exchange) -> None:
        with pytest.raises(BodyTooLarge) as caught:
            await exchange.read_body(10)
        exchange.send_whole(400, (), b"", str(caught.value).encode())

    raw = await all_of(serve, HEAD + b"Expect: 100-continue\r\nContent-Length: 1000000\r\n\r\n")
    assert raw.startswith(b"HTTP/1.1 400 ")
    assert raw.endswith(b"longer than 10 bytes")


@pytest.mark.parametrize("size", [11, 200_000])
async def test_a_body_in_chunks_that_is_too_large_is_not_read_on(size: int) -> None:
    async def serve(exchange: Exchange) -> None:
        with pytest.raises(BodyTooLarge):
            await exchange.read_body(10)
        exchange.send_whole(400, (), b"", b"")

    raw = await all_of(
        serve,
        HEAD + b"Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n" % size + bytes(size) + b"\r\n0\r\n\r\n",
    )
    assert raw.startswith(b"HTTP/1.1 400 ")


@pytest.mark.parametrize("chunked", [False, True])
async def test_bodies_under_way_share_a_budget(chunked: bool) -> None:
    size = 400_000
    reading, go_on = asyncio.Event(), asyncio.Event()

    async def serve(exchange: Exchange) -> None:
        try:
            body = await exchange.read_body(1_000_000)
        except TooManyBodies:
            exchange.send_whole(429, (), b"", b"")
            return
        reading.set()
        await go_on.wait()
        exchange.send_whole(200, (), b"", b"%d" % len(body))

    head, body = HEAD + b"Connection: close\r\nContent-Length: %d\r\n\r\n" % size, bytes(size)
    if chunked:
        head = HEAD + b"Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n" % size
        body += b"\r\n0\r\n\r\n"
    limits = Limits(bodies_bytes=1_500_000 if chunked else 500_000)
    async with serving(serve, limits) as server:
        first = asyncio.ensure_future(told(server, head + body))
        await asyncio.wait_for(reading.wait(), TIMEOUT_S)
        assert server.body_bytes_left < 500_000
        assert (await told(server, head + body)).startswith(b"HTTP/1.1 429 ")
        go_on.set()
        assert (await first).endswith(b"400000")
        assert server.body_bytes_left == limits.bodies_bytes
        assert (await told(server, head + body)).endswith(b"400000")
        assert server.body_bytes_left == limits.bodies_bytes


async def test_a_client_that_leaves_gives_its_share_back() -> None:
    async with serving(echo, Limits(bodies_bytes=500_000)) as server:
        for _ in range(5):
            _reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            writer.write(HEAD + b"Content-Length: 400000\r\n\r\n" + bytes(100_000))
            await until(lambda: server.body_bytes_left == 100_000, "the body's share")
            writer.transport.abort()
            await until(lambda: server.body_bytes_left == 500_000, "the share given back")


async def test_small_bodies_cost_no_budget() -> None:
    async with serving(echo, Limits(bodies_bytes=10)) as server:
        raw = await told(server, HEAD + b"Connection: close\r\nContent-Length: 1000\r\n\r\n" + bytes(1000))
        assert raw.startswith(b"HTTP/1.1 200 ")


# Connections.


async def opened(server: HttpServer, count: int, said: bytes = b"") -> list[socket.socket]:
    loop = asyncio.get_running_loop()
    made = []
    for _ in range(count):
        client = socket.socket()
        client.setblocking(False)
        await loop.sock_connect(client, ("127.0.0.1", server.port))
        if said:
            await loop.sock_sendall(client, said)
        made.append(client)
    return made


async def counted(server: HttpServer, most: int) -> None:
    await until(lambda: server.connections >= most, "the connections")
    assert server.connections <= most + 8


@pytest.mark.parametrize("said", [b"", b"GET / HTTP/1.1\r\n", HEAD + b"Content-Length: 9\r\n\r\n1"])
async def test_silent_connections_do_not_lock_anyone_out(said: bytes) -> None:
    for limits in (Limits(connections=40, connections_per_peer=1000), Limits(connections_per_peer=40)):
        async with serving(echo, limits) as server:
            clients = await opened(server, 200, said)
            await counted(server, 37)
            for _ in range(20):
                assert (await told(server, GET)).startswith(b"HTTP/1.1 200 ")
            assert server.connections <= 48
            for client in clients:
                client.close()


def descriptors_of(server: HttpServer) -> int:
    """Of this process: its connections to the server, beside the socket that listens."""
    return sum(each.laddr.port == server.port for each in psutil.Process().net_connections("tcp")) - 1


async def test_connections_that_make_place_before_they_are_open_leave_no_descriptor() -> None:
    """Without the garbage collector, which would close them some day."""
    gc.collect()
    gc.disable()
    try:
        async with serving(echo, Limits(connections=20, connections_per_peer=20)) as server:
            # All at once: the server takes many off its queue before it opens any.
            clients = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(90)]
            # Connections are accepted in order: once this one is answered, all others were.
            assert (await told(server, GET)).startswith(b"HTTP/1.1 200 ")
            await until(lambda: descriptors_of(server) <= 20 + 8, "the descriptors that are closed")
            for client in clients:
                client.close()
    finally:
        gc.enable()


async def test_where_all_are_busy_the_next_is_told_to_come_later() -> None:
    endpoint = Endpoint(never)
    async with serving(endpoint, Limits(connections=10, refused_connections=3, refused_s=0.2)) as server:
        clients = await opened(server, 10, GET)
        await counted(server, 10)
        await asyncio.sleep(0.05)
        raw = await told(server, GET)
        assert raw.startswith(b"HTTP/1.1 503 ")
        assert b"OVERLOADED" in raw
        # Of those beyond the bound, only some are told.
        silent = await opened(server, 50)
        await asyncio.sleep(0.1)
        assert server.connections <= 13
        for client in [*clients, *silent]:
            client.close()


async def test_running_out_of_descriptors_does_not_end_the_listening(descriptors: None) -> None:
    async with serving(echo, Limits(connections=100_000, connections_per_peer=100_000)) as server:
        clients: list[socket.socket] = []
        try:
            while True:
                clients.extend(await opened(server, 1))
        except OSError:
            pass
        await asyncio.sleep(0.5)
        for client in clients:
            client.close()
        async with asyncio.timeout(TIMEOUT_S):
            while True:
                try:
                    assert (await told(server, GET)).startswith(b"HTTP/1.1 200 ")
                    break
                except (OSError, AssertionError):
                    await asyncio.sleep(0.05)


@pytest.fixture
def descriptors() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (200, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.parametrize(("descriptors", "connections"), [(1024, 128), (20_000, 2500), (1_000_000, 16_384), (20, 16)])
def test_the_bound_follows_from_the_descriptors_of_the_process(descriptors: int, connections: int) -> None:
    limits = for_host(descriptors, 8 * 2**30, endpoints=4)
    assert limits.connections == connections
    assert limits.connections_per_peer < limits.connections
    assert limits.bodies_bytes == 2**30
    assert for_host(descriptors, 0, endpoints=4).bodies_bytes == BODIES_MIN_BYTES
