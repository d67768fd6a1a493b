"""What instances find in their networks on a node without the writer: its endpoints through tunnels, the rest here."""

import asyncio
import socket
from collections.abc import Callable, Mapping

from tests.http.harness import GET, TIMEOUT_S, Endpoint, until

from sesame.cluster.arrivals import Arrivals
from sesame.cluster.handshake import Purpose
from sesame.cluster.inside import NodeAnswers
from sesame.cluster.port import Address, AgentPort
from sesame.cluster.tunnels import Tunnels
from sesame.http.interface import Exchange
from sesame.http.listener import listening_socket
from sesame.http.server import HttpServer
from sesame.model.fair_rate import FairRate, Rates
from sesame.sandbox.network import HOST_ADDRESS, HostAnswers, Inside, Listen, Take

KEY = b"k" * 32
EVERYWHERE, CLOUD = Listen("tcp", "0.0.0.0", 9000), Listen("tcp", HOST_ADDRESS, 80)
NAMES = Listen("udp", HOST_ADDRESS, 53)


class Writer:
    """A node's writer, whose endpoint answers with the name of the instance that asks."""

    def __init__(self) -> None:
        self.instances: list[str] = []
        self.server = HttpServer(Endpoint(self._serve))
        self.answers = HostAnswers()
        for listen in (EVERYWHERE, CLOUD):
            self.answers.offer(listen, self.server.serve, lambda connected, name: self._take(connected, name))
        self.answers.offer(NAMES, _served_by_nobody)
        self.answers.add_address("192.0.2.1")
        self.answers.offered()
        self.arrivals = Arrivals()
        self.port = AgentPort(listening_socket("127.0.0.1", 0), KEY, {Purpose.TUNNEL: self.arrivals.take})

    async def _serve(self, exchange: Exchange) -> None:
        exchange.send_whole(200, (), b"", b"of the writer")

    def _take(self, connected: socket.socket, name: str) -> None:
        self.instances.append(name)
        self.server.take(connected, name)

    async def __aenter__(self) -> "Writer":
        await self.server.start()
        self.port.start()
        self.arrivals.open(self.server, {}, self.answers.take)
        return self

    async def __aexit__(self, *_error: object) -> None:
        self.port.close()
        self.arrivals.close()
        await self.server.stop(0.1)


def _served_by_nobody(_socket: socket.socket, _instance: str) -> Callable[[], None]:
    raise AssertionError("a name server of the writer answers its own instances alone")


class Node:
    def __init__(self, writer: Writer, rates: Rates | None = None) -> None:
        async def where() -> Address:
            return writer.port.address

        self.tunnels = Tunnels(KEY, 100)
        self.answers = NodeAnswers(self.tunnels, where, "two", FairRate(rates=rates), 30.0)
        self.cloud_ports: Mapping[int, Take] = {}
        self.asked: list[str] = []

    async def complete(self, writer: Writer) -> None:
        def own(host: HostAnswers, cloud_ports: Mapping[int, Take]) -> None:
            self.cloud_ports = cloud_ports
            assert host.offer(NAMES, self._names)

        completing = asyncio.ensure_future(self.answers.complete(own))
        await asyncio.sleep(0)
        assert not completing.done()
        self.answers.offered(await writer.answers.inside(), writer.answers.taken)
        await completing

    def _names(self, asked: socket.socket, instance: str) -> Callable[[], None]:
        self.asked.append(instance)
        return asked.close


async def asked(address: Address) -> bytes:
    reader, writer = await asyncio.open_connection(*address)
    writer.write(GET)
    try:
        return await asyncio.wait_for(reader.read(), TIMEOUT_S)
    finally:
        writer.close()


async def test_endpoints_are_the_writers_and_names_are_this_machines() -> None:
    async with Writer() as writer:
        node = Node(writer)
        await node.complete(writer)
        inside: Inside = await node.answers.inside()
        assert set(inside.listens) == {EVERYWHERE, CLOUD, NAMES}
        assert "192.0.2.1" in inside.addresses
        listening = listening_socket("127.0.0.1", 0)
        address = listening.getsockname()
        end = node.answers.serve(EVERYWHERE, listening, "c-1")
        assert (await asked(address)).endswith(b"of the writer")
        assert writer.instances == ["two, c-1"]
        end_names = node.answers.serve(NAMES, socket.socket(socket.AF_INET, socket.SOCK_DGRAM), "c-1")
        assert node.asked == ["c-1"]
        end_names()
        end()
        end()
        try:
            await asked(address)
        except ConnectionRefusedError:
            pass
        else:
            raise AssertionError("it answers after its end")
        await node.tunnels.close(0.0)


async def test_what_the_proxy_is_asked_for_under_a_name_of_the_cloud_goes_to_the_writer() -> None:
    async with Writer() as writer:
        node = Node(writer)
        await node.complete(writer)
        assert set(node.cloud_ports) == {80}
        listening = listening_socket("127.0.0.1", 0)
        asking = asyncio.ensure_future(asked(listening.getsockname()))
        await until(lambda: _accepted(listening, node.cloud_ports[80]), "the connection")
        assert (await asking).endswith(b"of the writer")
        listening.close()
        await node.tunnels.close(0.0)


def _accepted(listening: socket.socket, take: Take) -> bool:
    try:
        accepted, _address = listening.accept()
    except BlockingIOError:
        return False
    accepted.setblocking(False)
    take(accepted, "c-1")
    return True


async def test_an_instance_that_connects_too_fast_waits_and_no_other_does() -> None:
    rates = Rates(each_per_s=20, each_burst=2, all_per_s=1000, all_burst=100)
    async with Writer() as writer:
        node = Node(writer, rates)
        await node.complete(writer)
        ends, addresses = [], []
        for name in ("fast", "other"):
            listening = listening_socket("127.0.0.1", 0)
            addresses.append(listening.getsockname())
            ends.append(node.answers.serve(EVERYWHERE, listening, name))
        many = [asyncio.ensure_future(asked(addresses[0])) for _ in range(12)]
        assert (await asked(addresses[1])).endswith(b"of the writer")
        for each in many:
            assert (await each).endswith(b"of the writer")
        for end in ends:
            end()
        await node.tunnels.close(0.0)


async def test_the_next_writers_offer_changes_nothing_for_networks_that_are_there() -> None:
    async with Writer() as writer:
        node = Node(writer)
        await node.complete(writer)
        before = await node.answers.inside()
        node.answers.writer_gone()
        node.answers.offered(Inside(), ())
        assert await node.answers.inside() == before
        assert await node.answers.object_storage() is None
