"""An instance's own network: its loopback is its own, and of the host it reaches what the host answers on inside."""

import asyncio
import errno
import json
import os
import select
import socket
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
import pytest_asyncio
from tests.runtime.conftest import Actor, Stage
from tests.support.jails import ISOLATION, Traces, jail, jail_only, root_only

from sesame._network import OwnNetworks, offer_network
from sesame.inside.bounds import for_descriptors
from sesame.model.command import Command
from sesame.model.fair_rate import FairRate
from sesame.sandbox.cgroups.groups import MIB, TCP_BUFFERS_BYTES
from sesame.sandbox.interface import Death, KillReason, SandboxDied
from sesame.sandbox.jail import isolation
from sesame.sandbox.jail.driver import JailDriver
from sesame.sandbox.jail.network import InstanceNetwork, set_up
from sesame.sandbox.network import EVERY_ADDRESS, HOST_ADDRESS, HostAnswers, Inside, Listen, WayOut
from sesame.settings import Settings

pytestmark = [jail_only, pytest.mark.asyncio(loop_scope="module")]

ANSWERED = 9001
# A service that the host has at an address of IPv6, where the kernel knows such addresses.
SERVICE_6, HAS_6 = Listen("tcp", "fd00::7", 9006), Path("/proc/net/if_inet6").exists()
PATIENCE_S = 60.0


class Greeter:
    """Greets whoever connects to the sockets that it is given, and remembers who is being served."""

    def __init__(self) -> None:
        self.serving: set[str] = set()

    def serve(self, listening: socket.socket, client: str) -> Callable[[], None]:
        loop = asyncio.get_running_loop()
        self.serving.add(client)

        def greet() -> None:
            accepted = listening.accept()[0]
            accepted.recv(4096)
            accepted.sendall(b"HTTP/1.0 200 OK\r\n\r\nhello")
            accepted.close()

        def end() -> None:
            self.serving.discard(client)
            loop.remove_reader(listening.fileno())
            listening.close()

        loop.add_reader(listening.fileno(), greet)
        return end


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def greeter() -> Greeter:
    return Greeter()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def driver(tmp_path_factory: pytest.TempPathFactory, greeter: Greeter) -> AsyncIterator[JailDriver]:
    answers = HostAnswers()
    answers.offer(Listen("tcp", EVERY_ADDRESS, ANSWERED), greeter.serve)
    answers.add_address(HOST_ADDRESS)
    if HAS_6:
        answers.offer(SERVICE_6, greeter.serve)
    answers.offered()
    async with jail(tmp_path_factory.mktemp("jail"), network="none", answers=answers) as made:
        yield made


def address(port: int, host: str = "127.0.0.1") -> bytes:
    return json.dumps({"host": host, "port": port}).encode()


async def said(actor: Actor, port: int) -> str:
    """What the server on this port of the instance's loopback says, heard by a command in the instance."""
    script = f"import socket; print(socket.create_connection(('127.0.0.1', {port}), 10).recv(99).decode())"
    run = await actor.sandbox.exec(Command(("python", "-c", script)))
    output = b""
    async with asyncio.timeout(PATIENCE_S):
        while piece := await run.read():
            output += piece[1]
    await run.close()
    return output.decode().strip()


async def test_the_host_answers_inside(stage: Stage) -> None:
    actor = await stage.start("network", "index.get")
    for host in ("127.0.0.1", "localhost", HOST_ADDRESS):
        assert (await actor.invoke(f"http://{host}:{ANSWERED}/".encode())).payload == b"hello"


@pytest.mark.skipif(not HAS_6, reason="needs IPv6")
async def test_an_address_of_ipv6_is_brought_in(stage: Stage) -> None:
    actor = await stage.start("network", "index.get")
    assert (await actor.invoke(f"http://[{SERVICE_6.address}]:{SERVICE_6.port}/".encode())).payload == b"hello"


async def test_the_hosts_loopback_is_not_there(stage: Stage) -> None:
    with socket.create_server(("127.0.0.1", 0)) as service:
        port = service.getsockname()[1]
        actor = await stage.start("network", "index.reach")
        for host in ("127.0.0.1", "0.0.0.0", "::1", HOST_ADDRESS):
            assert "refused" in await actor.json(address(port, host))


async def test_two_instances_listen_on_one_port(stage: Stage) -> None:
    actors = [await stage.start("network", "index.listen", instance_id=f"c-{n}") for n in range(2)]
    for actor in actors:
        assert await actor.json(address(9000, "0.0.0.0")) == 9000
    for number, actor in enumerate(actors):
        assert await said(actor, 9000) == f"c-{number}"


async def test_no_instance_reaches_another(stage: Stage) -> None:
    other = await stage.start("network", "index.listen")
    assert await other.json(address(9000, "0.0.0.0")) == 9000
    actor = await stage.start("network", "index.reach")
    assert "refused" in await actor.json(address(9000, HOST_ADDRESS))


async def test_a_port_of_the_hosts_can_be_had(stage: Stage) -> None:
    actor = await stage.start("network", "index.listen", instance_id="c-own")
    await actor.sandbox.resources.network.release(ANSWERED)
    assert await actor.json(address(ANSWERED, "0.0.0.0")) == ANSWERED
    assert await said(actor, ANSWERED) == "c-own"


async def sent_to(network: InstanceNetwork, listening: socket.socket) -> None:
    """As process 1 of an instance does; whoever calls closes the socket, as it."""
    lent = network.request(os.dup)["socket"]
    network.begin()
    with socket.socket(fileno=lent) as theirs:
        socket.send_fds(theirs, [b"n"], [listening.fileno()])


async def test_a_port_that_is_given_up_is_watched_no_more() -> None:
    """Also while another process has the socket still, as one that is started at this moment."""
    problems: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: problems.append(context))
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        network = InstanceNetwork(Inside((Listen("tcp", "127.0.0.1", port),)), HostAnswers.none(), "given up")
        await sent_to(network, listening)
        await network.release(port)
        with socket.create_connection(("127.0.0.1", port)):
            for _turn in range(20):
                await asyncio.sleep(0)
        network.close()
    asyncio.get_running_loop().set_exception_handler(None)
    assert problems == []


async def test_with_no_descriptor_left_to_watch_by_nobody_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> None:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        network = InstanceNetwork(Inside((Listen("tcp", "127.0.0.1", port),)), HostAnswers.none(), "unwatched")
        monkeypatch.setattr(select, "epoll", refuse)
        await sent_to(network, listening)
        async with asyncio.timeout(PATIENCE_S):
            await network.release(port)
        network.close()


async def test_the_function_holds_none_of_the_hosts_sockets(stage: Stage) -> None:
    actor = await stage.start("network", "index.descriptors")
    # The shim's own.
    assert len(await actor.json()) == 1


@root_only
async def test_the_buffers_of_connections_are_bounded(stage: Stage) -> None:
    """Version 1 counts them apart from memory, version 2 as memory."""
    actor = await stage.start("network", "index.buffers", memory_mb=128)
    most = 400 * MIB
    try:
        kept = await actor.json(json.dumps(most).encode())
    except SandboxDied as died:
        assert died.reason is Death.OUT_OF_MEMORY  # noqa: PT017 - or it is refused more
    else:
        assert kept < 2 * TCP_BUFFERS_BYTES


async def test_a_command_is_in_the_same_network(stage: Stage) -> None:
    actor = await stage.start("network", "index.listen", instance_id="c-same")
    assert await said(actor, await actor.json(address(0, "127.0.0.1"))) == "c-same"


async def test_nothing_is_left_of_a_network(tmp_path: Any, runtime: str, driver: JailDriver) -> None:
    # What the other tests' driver still makes ahead of use would count as left.
    await driver.settled()
    traces = Traces()
    greeter = Greeter()
    answers = HostAnswers()
    answers.offer(Listen("tcp", EVERY_ADDRESS, ANSWERED), greeter.serve)
    answers.offered()
    async with jail(tmp_path, network="none", answers=answers) as own:
        stage = Stage(own, runtime)
        actor = await stage.start("network", "index.get")
        assert (await actor.invoke(f"http://127.0.0.1:{ANSWERED}/".encode())).payload == b"hello"
        await actor.sandbox.kill(KillReason.DONE)
    assert greeter.serving == set()
    assert await traces.settled() == {}


async def test_what_the_kernel_refuses_of_a_way_out_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    (loopback, alone), *_ways = isolation.networks()
    # Nothing can come from an address that the network does not have.
    way = WayOut(HOST_ADDRESS, 1, "203.0.113.7")
    impossible = {**alone, **set_up(Inside(addresses=(HOST_ADDRESS,), ways_out=(way,)))}
    monkeypatch.setattr(isolation, "networks", lambda: [(loopback, alone), ("no_way_out", impossible)])
    found = await asyncio.to_thread(isolation.probe)
    assert (found.possible, found.no_network) == (True, "")
    assert "netlink 0, message 3: Invalid argument" in found.no_way_out
    assert found.leads_out == frozenset()


async def test_a_proxy_leads_out_where_connections_cannot_be_led(tmp_path: Any, runtime: str) -> None:
    answers, problem = HostAnswers(), "protocol not supported"
    found = msgspec.structs.replace(ISOLATION, no_way_out=problem)
    async with jail(tmp_path, network="egress", answers=answers, probe=lambda: found) as driver:
        assert driver.only_proxy == problem
        assert any(f"by an HTTP proxy alone: {problem}" in each.by for each in driver.enforcement())
        offer_network(
            answers, Settings(), OwnNetworks(driver.network, driver.leads_out), for_descriptors(FairRate(), 2048), {}
        )
        answers.offered()
        stage = Stage(driver, runtime)
        actor = await stage.start("network", "index.fetch", internet=False)
        status, body = await actor.json(b"http://192.0.2.1:1/")
        assert (status, "network_allow" in body) == (403, True)
        actor = await stage.start("network", "index.fetch")
        for host in ("127.0.0.2", "169.254.169.254", "100.100.100.200", "10.0.0.1", "[::ffff:127.0.0.1]"):
            status, body = await actor.json(f"http://{host}:1/".encode())
            assert (status, "network_allow" in body) == (403, True), host
        await stage.clear()


async def test_instances_wait_for_what_the_host_offers(tmp_path: Any, runtime: str) -> None:
    answers = HostAnswers()
    async with jail(tmp_path, network="none", answers=answers) as driver:
        starting = asyncio.create_task(Stage(driver, runtime).start("hello"))
        answers.offered()
        assert (await (await starting).invoke()).payload == b"hello world"
