"""Connections that another node answers: requests that move there, and endpoints that are not here; on loopback."""

import asyncio
import functools
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from tests.http.harness import GET, TIMEOUT_S, Endpoint, Serve, echo, told, until, whole

from sesame.agents.policies import MOVES_MAX
from sesame.cluster import arrivals as cluster_arrivals
from sesame.cluster import heads
from sesame.cluster import tunnels as cluster_tunnels
from sesame.cluster.arrivals import Arrivals
from sesame.cluster.carrying import Carrier, onward, way_of
from sesame.cluster.handshake import Purpose
from sesame.cluster.port import Address, AgentPort, address_of, connect
from sesame.cluster.tunnels import Client, Tunnels
from sesame.http.admission import TOO_MANY
from sesame.http.interface import Exchange
from sesame.http.listener import listening_socket
from sesame.http.moving import Arrived, move, settle
from sesame.http.server import HttpServer
from sesame.http.shared import Way
from sesame.model.host_and_port import text_of

KEY = b"k" * 32
POST = b"POST /%b HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n"
LAST = b"GET /%b HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"


class Node:
    """One process of a node: what answers, its agent port, and tunnels to others."""

    def __init__(self, serve: Serve, most: int = 100, key: bytes = KEY) -> None:
        self.endpoint = Endpoint(serve)
        self.server = HttpServer(self.endpoint, keeps=lambda _request: True)
        self.arrivals = Arrivals()
        self.port = AgentPort(listening_socket("127.0.0.1", 0), key, {Purpose.TUNNEL: self.arrivals.take})
        self.tunnels = Tunnels(key, most)
        # Who is the writer; asked each time.
        self._writer: asyncio.Future[Address] = asyncio.get_running_loop().create_future()
        self.carry = Carrier(self.tunnels, self.where, self.server.adopt)

    async def where(self) -> Address:
        return await asyncio.shield(self._writer)

    def led_by(self, writer: Address) -> None:
        if self._writer.done():
            self._writer = asyncio.get_running_loop().create_future()
        self._writer.set_result(writer)

    async def __aenter__(self) -> "Node":
        await self.server.start()
        self.port.start()
        self.arrivals.open(self.server, {"oss_port": self.server})
        return self

    async def __aexit__(self, *_error: object) -> None:
        self.port.close()
        self.arrivals.close()
        await self.tunnels.close(0.0)
        await self.server.stop(0.1)


async def moving(nodes: list[Node], here: int, exchange: Exchange) -> None:
    """Answers requests that begin with this node's number, and moves others."""
    there = int(exchange.request.path[1])
    if there != here:
        moved = await move(exchange, proven=True)
        assert moved is not None
        nodes[here].carry(text_of(*nodes[there].port.address), moved)
        return
    settle(exchange)
    body = bytes(await exchange.read_body(100_000_000))
    client, server = exchange.request.client, exchange.request.server
    exchange.send_whole(200, (), b"", b"<%d %b %d %d %d>" % (here, body[:8], len(body), client[1], server[1]))


@asynccontextmanager
async def nodes(count: int) -> AsyncIterator[list[Node]]:
    made: list[Node] = []
    made += [Node(functools.partial(moving, made, number)) for number in range(count)]
    async with made[0], made[1]:
        if count == 2:
            yield made
            return
        async with made[2]:
            yield made


async def connected(port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter, int]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    return reader, writer, writer.get_extra_info("sockname")[1]


async def answer(reader: asyncio.StreamReader) -> list[int | bytes]:
    async with asyncio.timeout(TIMEOUT_S):
        said = await reader.readuntil(b">")
    return [int(each) if each.isdigit() else each for each in said.rpartition(b"<")[2][:-1].split(b" ")]


async def test_a_request_goes_on_at_another_node_with_its_clients_address_and_body() -> None:
    async with nodes(2) as (here, _there):
        reader, writer, own = await connected(here.server.port)
        for body in (b"event", b"x" * 5_000_000):
            writer.write(POST % (b"1", len(body)) + body)
            assert await answer(reader) == [1, body[:8], len(body), own, here.server.port]
        writer.write(LAST % b"1")
        assert (await answer(reader))[0] == 1
        assert await reader.read() == b""
        writer.close()
        await until(lambda: not len(here.tunnels), "the tunnel to end")


async def test_requests_for_different_nodes_in_turn_pass_through_no_more_than_two_machines() -> None:
    async with nodes(3) as made:
        reader, writer, own = await connected(made[0].server.port)
        for number in (b"0", b"1"):
            writer.write(POST % (number, 5) + b"event")
            assert (await answer(reader))[0] == int(number)
        writer.write(POST % (b"2", 5) + b"event")
        assert await answer(reader) == [2, b"event", 5, own, made[0].server.port]
        # It has come through two.
        assert await asyncio.wait_for(reader.read(), TIMEOUT_S) == b""
        writer.close()


async def test_an_answer_in_pieces_arrives_as_it_is_made_and_back_pressure_reaches_who_makes_it() -> None:
    sent, go = 0, asyncio.Event()

    async def stream(exchange: Exchange) -> None:
        nonlocal sent
        exchange.begin(200, [])
        await exchange.send(b"first")
        await go.wait()
        for _ in range(400):
            await exchange.send(bytes(65536))
            sent += 1
        await exchange.send(b"", last=True)

    async with Node(whole(b"")) as here, Node(stream) as there:
        here.led_by(there.port.address)
        client, writer = await led(here, GET)
        async with asyncio.timeout(TIMEOUT_S):
            assert b"first" in await client.readuntil(b"first")
        go.set()
        await until(lambda: sent > 0, "some of it")
        before = -1
        while before != sent:
            before = sent
            await asyncio.sleep(0.2)
        assert sent < 400
        assert len(await asyncio.wait_for(client.read(), TIMEOUT_S)) > 400 * 65536
        writer.close()


async def ended(reader: asyncio.StreamReader) -> bytes:
    """What comes until the end, which is a reset where something the client said was not read."""
    said = b""
    try:
        while part := await asyncio.wait_for(reader.read(65536), TIMEOUT_S):
            said += part
    except ConnectionResetError:
        pass
    return said


async def led(
    node: Node, said: bytes, failures: list[str] | None = None
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A client of the writer's object storage at this node."""
    listening = listening_socket("127.0.0.1", 0)
    reader, writer = await asyncio.open_connection("127.0.0.1", listening.getsockname()[1])
    accepted, address = listening.accept()
    accepted.setblocking(False)
    listening.close()

    def failed(back: socket.socket, why: str) -> None:
        if failures is not None:
            failures.append(why)
        back.close()

    head = heads.Endpoint("oss_port", onward(way_of(accepted)))
    node.tunnels.lead(Client(accepted, address[0], b"", failed), head, node.where)
    writer.write(said)
    return reader, writer


async def test_an_endpoint_of_the_writer_answers_once_there_is_one() -> None:
    async with Node(whole(b"")) as here, Node(echo) as there:
        reader, writer = await led(here, GET)
        await until(lambda: len(here.tunnels) == 1, "the connection to wait")
        here.led_by(there.port.address)
        assert (await asyncio.wait_for(reader.read(), TIMEOUT_S)).endswith(b"/a%20b ")
        writer.close()


async def test_a_writer_that_is_gone_is_asked_for_again_until_another_has_its_place() -> None:
    async with Node(whole(b"")) as here, Node(echo) as there:
        gone = listening_socket("127.0.0.1", 0)
        here.led_by(gone.getsockname())
        gone.close()
        reader, writer = await led(here, GET)
        await until(lambda: len(here.tunnels) == 1, "the connection to wait")
        await asyncio.sleep(0)
        here.led_by(there.port.address)
        assert (await asyncio.wait_for(reader.read(), TIMEOUT_S)).endswith(b"/a%20b ")
        writer.close()


async def test_without_a_writer_in_time_it_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Tunnels.lead, "__kwdefaults__", {"away_s": 0.05})
    failures: list[str] = []
    async with Node(whole(b"")) as here:
        reader, writer = await led(here, GET, failures)
        assert await ended(reader) == b""
        writer.close()
        assert failures == [cluster_tunnels.AWAY]
        assert not len(here.tunnels)


async def test_a_request_that_its_node_does_not_take_comes_back_for_the_writer() -> None:
    gone = listening_socket("127.0.0.1", 0)
    address = text_of(*gone.getsockname())
    gone.close()
    adopted: list[Arrived] = []
    async with nodes(2) as (here, _there):
        moved_away = asyncio.Event()

        async def serve(exchange: Exchange) -> None:
            moved = await move(exchange, proven=True)
            assert moved is not None

            def adopt(back: socket.socket, arrived: Arrived) -> None:
                adopted.append(arrived)
                back.close()
                moved_away.set()

            Carrier(here.tunnels, here.where, adopt)(address, moved)

        async with Node(serve) as third:
            assert await told(third.server, GET) == b""
            await asyncio.wait_for(moved_away.wait(), TIMEOUT_S)
    (arrived,) = adopted
    assert (arrived.data, arrived.moves, arrived.proven, arrived.refusal) == (GET, MOVES_MAX, True, "")


@pytest.mark.thorough
async def test_a_request_for_a_writer_that_does_not_come_is_answered_with_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Tunnels.lead, "__kwdefaults__", {"away_s": 0.05})

    async def serve(exchange: Exchange) -> None:
        moved = await move(exchange, proven=True)
        assert moved is not None
        node.carry("", moved)

    node = Node(serve)
    async with node:
        said = await told(node.server, GET)
    assert said.startswith(b"HTTP/1.1 503 ")
    assert cluster_tunnels.AWAY.encode() in said


async def test_a_node_with_another_key_gets_nothing_of_what_a_client_says() -> None:
    failures: list[str] = []
    async with Node(whole(b"")) as here, Node(echo, key=b"o" * 32) as stranger:
        here.led_by(stranger.port.address)
        reader, writer = await led(here, GET, failures)
        assert await ended(reader) == b""
        writer.close()
        assert failures == [cluster_tunnels.AWAY]


async def test_the_end_of_a_node_resets_what_led_there() -> None:
    async def wait(exchange: Exchange) -> None:
        exchange.begin(200, [])
        await exchange.send(b"begun")
        await exchange.gone()

    async with Node(whole(b"")) as here, Node(wait) as there:
        here.led_by(there.port.address)
        reader, writer = await led(here, GET)
        async with asyncio.timeout(TIMEOUT_S):
            await reader.readuntil(b"begun")
        here.tunnels.end(("127.0.0.1", 1))
        assert len(here.tunnels) == 1
        here.tunnels.end(there.port.address)
        with pytest.raises(ConnectionResetError):
            await asyncio.wait_for(reader.read(), TIMEOUT_S)
        writer.close()


async def test_a_client_that_leaves_is_seen_to_leave_where_it_is_answered() -> None:
    left = asyncio.Event()

    async def wait(exchange: Exchange) -> None:
        exchange.on_disconnect(left.set)
        await exchange.gone()

    async with Node(whole(b"")) as here, Node(wait) as there:
        here.led_by(there.port.address)
        _reader, writer = await led(here, GET)
        await until(lambda: there.server.connections == 1, "the request")
        writer.transport.abort()
        await asyncio.wait_for(left.wait(), TIMEOUT_S)


async def test_idle_tunnels_make_place_and_busy_ones_do_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster_tunnels, "IDLE_S", 0.0)
    keep_alive = GET.replace(b"Connection: close\r\n", b"")
    failures: list[str] = []
    async with Node(whole(b""), most=2) as here, Node(echo) as there:
        here.led_by(there.port.address)
        first, writer = await led(here, keep_alive, failures)
        async with asyncio.timeout(TIMEOUT_S):
            await first.readuntil(b"/a%20b ")
        # Of one address three quarters, and so one here.
        second, other = await led(here, b"GET ", failures)
        assert await asyncio.wait_for(first.read(), TIMEOUT_S) == b""
        await until(lambda: there.server.connections == 1, "the second alone")
        third, another = await led(here, GET, failures)
        assert await ended(third) == b""
        assert failures == [TOO_MANY]
        other.write(GET[4:])
        assert (await asyncio.wait_for(second.read(), TIMEOUT_S)).endswith(b"/a%20b ")
        for each in (writer, other, another):
            each.close()


async def test_what_is_under_way_ends_before_a_node_does(monkeypatch: pytest.MonkeyPatch) -> None:
    go = asyncio.Event()

    async def slow(exchange: Exchange) -> None:
        await go.wait()
        exchange.send_whole(200, (), b"", b"done")

    async with Node(whole(b"")) as here, Node(slow) as there:
        here.led_by(there.port.address)
        reader, writer = await led(here, GET.replace(b"Connection: close\r\n", b""))
        await until(lambda: there.server.connections == 1, "the request")
        closing = asyncio.ensure_future(here.tunnels.close(60))
        failures: list[str] = []
        late, other = await led(here, GET, failures)
        assert failures == [cluster_tunnels.STOPS]
        go.set()
        assert (await asyncio.wait_for(reader.read(), TIMEOUT_S)).endswith(b"done")
        await closing
        for each in (writer, other):
            each.close()
        assert await ended(late) == b""


async def test_what_comes_to_a_node_that_has_stopped_is_answered_and_what_comes_later_finds_another() -> None:
    async with Node(echo) as here, Node(echo) as stops, Node(whole(b"another")) as other:
        here.led_by(stops.port.address)
        await stops.server.stop(TIMEOUT_S)
        reader, writer = await led(here, b"")
        await until(lambda: stops.server.connections == 1, "the tunnel")
        draining = asyncio.ensure_future(stops.arrivals.drain(stops.port, (stops.server,), TIMEOUT_S))
        await asyncio.sleep(0)
        late_reader, late_writer = await led(here, GET)
        writer.write(GET)
        assert (await ended(reader)).endswith(b"/a%20b ")
        await asyncio.wait_for(draining, TIMEOUT_S)
        assert stops.server.connections == 0
        here.led_by(other.port.address)
        assert (await ended(late_reader)).endswith(b"another")
        for each in (writer, late_writer):
            each.close()


@pytest.mark.parametrize("patient", [True, False])
async def test_a_tunnel_that_says_nothing_does_not_hold_up_a_node_that_hurries(patient: bool) -> None:
    async with Node(echo) as stops:
        silent, received = socket.socketpair()
        with silent:
            received.setblocking(False)
            stops.arrivals.take(received, ("127.0.0.1", 1))
            draining = asyncio.ensure_future(
                stops.arrivals.drain(stops.port, (stops.server,), 60.0 if patient else 0.0)
            )
            if patient:
                await asyncio.sleep(0.01)
                assert not draining.done()
                stops.arrivals.close()
            async with asyncio.timeout(2.0):
                await draining
                silent.setblocking(False)
                assert await asyncio.get_running_loop().sock_recv(silent, 1) == b""


async def test_a_client_that_has_asked_nothing_does_not_hold_up_the_end_of_a_node() -> None:
    async with Node(whole(b"")) as here, Node(echo) as there:
        here.led_by(there.port.address)
        reader, writer = await led(here, b"")
        await until(lambda: there.server.connections == 1, "the tunnel")
        async with asyncio.timeout(60):
            await here.tunnels.close(3600)
        assert await ended(reader) == b""
        writer.close()


async def test_a_tunnel_waits_for_a_process_that_starts_and_not_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    made = Arrivals()
    port = AgentPort(listening_socket("127.0.0.1", 0), KEY, {Purpose.TUNNEL: made.take})
    port.start()
    server = HttpServer(Endpoint(echo))
    await server.start()
    head = heads.framed(heads.Request(1, True, onward(Way(("192.0.2.1", 1), ("192.0.2.2", 2), 0))))
    loop = asyncio.get_running_loop()

    async def said(first: bytes) -> bytes:
        tunnel = await connect(port.address, KEY, Purpose.TUNNEL)
        await loop.sock_sendall(tunnel, first)
        reader, writer = await asyncio.open_connection(sock=tunnel)
        try:
            return await ended(reader)
        finally:
            writer.close()

    waiting = asyncio.ensure_future(said(head + GET))
    await asyncio.sleep(0.01)
    made.open(server)
    assert (await waiting).endswith(b"/a%20b ")
    # Neither a head nor what is served here.
    assert await said(b"\xff\xff" + bytes(20)) == b""
    unknown = heads.framed(heads.Endpoint("oss_port", onward(Way(("192.0.2.1", 1), ("192.0.2.2", 2), 0))))
    assert await said(unknown + GET) == b""
    monkeypatch.setattr(cluster_arrivals, "HEAD_WITHIN_S", 0.05)
    assert await said(b"") == b""
    port.close()
    made.close()
    await server.stop(0.1)


async def test_hundreds_at_a_time() -> None:
    async with Node(whole(b""), most=1000) as here, Node(echo) as there:
        here.led_by(there.port.address)

        async def one(number: int) -> bool:
            body = b"%d" % number * 1000
            reader, writer = await led(here, POST % (b"x", len(body)) + body)
            async with asyncio.timeout(60):
                said = await reader.readuntil(body)
            writer.close()
            return said.endswith(body)

        assert all(await asyncio.gather(*map(one, range(300))))
        await until(lambda: not len(here.tunnels), "the tunnels to end")


@pytest.mark.parametrize(
    ("text", "address"), [("192.0.2.1:9010", ("192.0.2.1", 9010)), ("[2001:db8::1]:9010", ("2001:db8::1", 9010))]
)
def test_addresses_as_text(text: str, address: Address) -> None:
    assert address_of(text) == address
    assert text_of(*address) == text
