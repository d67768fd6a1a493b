"""The agent port over real sockets: who gets in, who does not, and that those who do not harm nobody."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator

import pytest

from sesame.cluster import accepting
from sesame.cluster import port as cluster_port
from sesame.cluster.handshake import ANSWER_BYTES, LINE, NotOfCluster, Opening, Purpose
from sesame.cluster.port import Address, AgentPort, address_of, connect
from sesame.http.listener import listening_socket
from sesame.model.errors import PlatformError
from sesame.model.host_and_port import text_of

KEY = b"k" * 32


def has_loopback_6() -> bool:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True


HAS_6 = has_loopback_6()


class Taken:
    """The connections that one purpose's taker was given."""

    def __init__(self) -> None:
        self.connections: asyncio.Queue[tuple[socket.socket, Address]] = asyncio.Queue()

    def take(self, connected: socket.socket, address: Address) -> None:
        self.connections.put_nowait((connected, address))

    async def next(self) -> tuple[socket.socket, Address]:
        async with asyncio.timeout(60):
            return await self.connections.get()


class Served:
    def __init__(self, host: str = "127.0.0.1") -> None:
        self.links, self.tunnels = Taken(), Taken()
        self.port = AgentPort(
            listening_socket(host, 0),
            KEY,
            {Purpose.LINK: self.links.take, Purpose.TUNNEL: self.tunnels.take},
        )
        self.address = self.port.address


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    served = Served()
    served.port.start()
    yield served
    served.port.close()


async def stranger(address: Address) -> socket.socket:
    connected = socket.socket()
    connected.setblocking(False)
    await asyncio.get_running_loop().sock_connect(connected, address)
    return connected


async def until_closed(connected: socket.socket) -> bytes:
    """All that is said until the other side ends the connection."""
    said = b""
    async with asyncio.timeout(60):
        with contextlib.suppress(ConnectionResetError):
            while part := await asyncio.get_running_loop().sock_recv(connected, 4096):
                said += part
    connected.close()
    return said


async def exchanged(one: socket.socket, other: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    for sender, receiver in ((one, other), (other, one)):
        await loop.sock_sendall(sender, b"hello")
        assert await loop.sock_recv(receiver, 100) == b"hello"


async def test_connections_come_to_the_taker_of_their_purpose_with_nothing_of_their_own_read(served: Served) -> None:
    link = await connect(served.address, KEY, Purpose.LINK)
    # Before the other side has looked at the proof.
    link.send(b"first")
    there, address = await served.links.next()
    assert address == link.getsockname()
    assert await asyncio.get_running_loop().sock_recv(there, 100) == b"first"
    tunnel = await connect(served.address, KEY, Purpose.TUNNEL)
    other, _address = await served.tunnels.next()
    await exchanged(link, there)
    await exchanged(tunnel, other)
    for each in (link, there, tunnel, other):
        assert each.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        assert each.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        assert not each.getblocking()
        each.close()


async def test_another_key_is_refused_on_both_sides(served: Served) -> None:
    with pytest.raises(NotOfCluster, match=rf"127.0.0.1:{served.address[1]} is no node of this cluster.*another key"):
        await connect(served.address, b"o" * 32, Purpose.LINK)
    assert served.links.connections.empty()


async def test_what_was_overheard_lets_nobody_in(served: Served) -> None:
    loop = asyncio.get_running_loop()
    opening = Opening(KEY, Purpose.LINK)
    first = await stranger(served.address)
    await loop.sock_sendall(first, opening.first)
    proof = opening.answered(await loop.sock_recv(first, ANSWER_BYTES))
    await loop.sock_sendall(first, proof)
    (await served.links.next())[0].close()
    first.close()
    again = await stranger(served.address)
    await loop.sock_sendall(again, opening.first + proof)
    assert len(await until_closed(again)) == ANSWER_BYTES
    assert served.links.connections.empty()


@pytest.mark.parametrize(
    "said", [b"GET / HTTP/1.1\r\n" + b"x: y\r\n" * 100_000, b"\x00" * 100, LINE + b"\xff" * 1000], ids=len
)
async def test_other_programs_and_huge_heads_are_closed_with_no_more_read_than_a_handshake(
    served: Served, said: bytes
) -> None:
    connected = await stranger(served.address)
    with contextlib.suppress(OSError):
        await asyncio.get_running_loop().sock_sendall(connected, said)
    assert await until_closed(connected) in (b"", LINE)


async def test_a_node_of_another_version_hears_which_this_one_has(served: Served) -> None:
    connected = await stranger(served.address)
    await asyncio.get_running_loop().sock_sendall(connected, LINE.replace(b"001", b"002") + bytes(33))
    assert await until_closed(connected) == LINE


async def answered_once(said: bytes) -> tuple[Address, asyncio.Server]:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(said)
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    return server.sockets[0].getsockname(), server


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (LINE.replace(b"001", b"002"), "version 002"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "does not speak as a node"),
        (LINE + b"\x00" * 64, "another key"),
    ],
)
async def test_who_connects_says_what_answers_in_the_place_of_a_node(said: bytes, expected: str) -> None:
    address, server = await answered_once(said)
    with pytest.raises(NotOfCluster, match=expected):
        await connect(address, KEY, Purpose.LINK)
    server.close()


async def test_who_connects_waits_no_longer_than_it_wants_to(served: Served) -> None:
    silent = listening_socket("127.0.0.1", 0)
    with pytest.raises(TimeoutError):
        await connect(silent.getsockname(), KEY, Purpose.LINK, within_s=0.05)
    address = silent.getsockname()
    silent.close()
    with pytest.raises(ConnectionRefusedError):
        await connect(address, KEY, Purpose.LINK)
    gone, server = await answered_once(LINE)
    with pytest.raises(ConnectionError):
        await connect(gone, KEY, Purpose.LINK)
    server.close()


async def test_who_says_nothing_is_closed_in_time(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster_port, "HANDSHAKE_S", 0.05)
    loop = asyncio.get_running_loop()
    silent, halfway = await stranger(served.address), await stranger(served.address)
    await loop.sock_sendall(halfway, Opening(KEY, Purpose.LINK).first)
    assert await until_closed(silent) == b""
    assert len(await until_closed(halfway)) == ANSWER_BYTES


async def test_a_crowd_of_strangers_keeps_no_node_out(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster_port, "UNPROVEN_MAX", 8)
    monkeypatch.setattr(cluster_port, "UNPROVEN_S", 0.05)
    crowd = [await stranger(served.address) for _ in range(40)]
    link = await connect(served.address, KEY, Purpose.LINK)
    there, _address = await served.links.next()
    await exchanged(link, there)
    # The first of them have made place.
    for each in crowd[:30]:
        assert await until_closed(each) == b""
    for each in (*crowd[30:], link, there):
        each.close()


async def test_what_was_taken_outlives_the_port_and_what_was_not_ends_with_it(served: Served) -> None:
    link = await connect(served.address, KEY, Purpose.LINK)
    there, _address = await served.links.next()
    loop, halfway = asyncio.get_running_loop(), await stranger(served.address)
    opening = Opening(KEY, Purpose.LINK)
    await loop.sock_sendall(halfway, opening.first)
    assert len(await loop.sock_recv(halfway, ANSWER_BYTES)) == ANSWER_BYTES
    served.port.close()
    served.port.close()
    assert await until_closed(halfway) == b""
    await exchanged(link, there)
    link.close()
    there.close()
    with pytest.raises(ConnectionRefusedError):
        await connect(served.address, KEY, Purpose.LINK)


async def test_a_purpose_that_nobody_takes_is_closed() -> None:
    port = AgentPort(listening_socket("127.0.0.1", 0), KEY, {})
    port.start()
    tunnel = await connect(port.address, KEY, Purpose.TUNNEL)
    assert await until_closed(tunnel) == b""
    port.close()


async def test_without_descriptors_it_goes_on_once_there_are_some(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accepting, "PAUSE_S", 0.01)

    class Scarce(socket.socket):
        failures = 3

        def accept(self) -> tuple[socket.socket, Address]:
            if self.failures:
                self.failures -= 1
                raise OSError(24, "Too many open files")
            return super().accept()

    taken = Taken()
    scarce = Scarce(fileno=listening_socket("127.0.0.1", 0).detach())
    port = AgentPort(scarce, KEY, {Purpose.LINK: taken.take})
    port.start()
    link = await connect(port.address, KEY, Purpose.LINK)
    there, _address = await taken.next()
    await exchanged(link, there)
    assert not scarce.failures
    for each in (link, there):
        each.close()
    port.close()


@pytest.mark.skipif(not HAS_6, reason="this machine has no IPv6")
async def test_nodes_may_have_addresses_of_ipv6_alone() -> None:
    served = Served("::1")
    served.port.start()
    try:
        address = address_of(text_of(*served.address))
        connected = await connect(address, KEY, Purpose.LINK)
        taken, (host, _port) = await served.links.next()
        with connected, taken:
            assert host == "::1"
            await exchanged(connected, taken)
    finally:
        served.port.close()


@pytest.mark.parametrize("host", ["a..b", "x" * 64, "\udcff"])
async def test_an_address_that_is_none_is_an_error_of_its_own(host: str) -> None:
    with pytest.raises((PlatformError, OSError)):
        await connect((host, 9010), KEY, Purpose.LINK, within_s=60.0)


@pytest.mark.parametrize("text", ["", "10.0.0.1", "10.0.0.1:", ":9010", "10.0.0.1:x", "10.0.0.1:-1"])
def test_text_that_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(PlatformError, match="expected HOST:PORT"):
        address_of(text)
