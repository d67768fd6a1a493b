"""The proxy that functions find: it leads out, refuses what is the host's own, and connects to what it has checked."""

import asyncio
import ipaddress
import socket
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

import pytest
from tests.http import harness

from sesame.http.interface import Exchange
from sesame.http.server import HttpServer
from sesame.inside.bounds import CONNECTIONS_MAX, for_descriptors
from sesame.inside.proxy import ADDRESSES_MAX, LOOK_UPS_MAX, NOTHING_OWN, EgressProxy, Own, look_up
from sesame.inside.rules import Address, EgressRules, parse
from sesame.model.fair_rate import FairRate

DESCRIPTORS = 2048


@asynccontextmanager
async def server(answer: bytes, seen: list[bytes]) -> AsyncIterator[int]:
    """Answers each connection once its head has come, and closes it."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(answer)
        await writer.drain()
        writer.close()

    serving = await asyncio.start_server(handle, "127.0.0.1", 0)
    async with serving:
        yield serving.sockets[0].getsockname()[1]


@asynccontextmanager
async def proxy(
    *allowed: str, names: Callable[[str], Sequence[str]] = lambda name: [name], own: Own = NOTHING_OWN
) -> AsyncIterator[tuple[str, int]]:
    async def look_up(name: str, port: int) -> list[Address]:
        return [ipaddress.ip_address(address) for address in names(name)]

    listening = socket.create_server(("127.0.0.1", 0))
    listening.setblocking(False)
    rules = EgressRules([parse(text) for text in allowed])
    end = EgressProxy(rules, for_descriptors(FairRate(), DESCRIPTORS), look_up, own).serve(listening, "test")
    try:
        yield listening.getsockname()
    finally:
        end()


async def ask(address: tuple[str, int], *pieces: bytes) -> bytes:
    reader, writer = await asyncio.open_connection(*address)
    for piece in pieces:
        writer.write(piece)
    answer = await asyncio.wait_for(reader.read(), 30)
    writer.close()
    return answer


async def test_a_request_goes_to_its_server_without_what_is_the_proxys() -> None:
    seen: list[bytes] = []
    async with server(b"HTTP/1.1 200 OK\r\n\r\nhello", seen) as port, proxy(f"127.0.0.1:{port}") as at:
        head = f"GET http://127.0.0.1:{port}/a?b=1 HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n"
        head += "Proxy-Connection: keep-alive\r\n\r\n"
        assert await ask(at, head.encode()) == b"HTTP/1.1 200 OK\r\n\r\nhello"
        expected = f"GET /a?b=1 HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\r\n"
        assert seen == [expected.encode()]


async def test_a_tunnel() -> None:
    seen: list[bytes] = []
    async with server(b"bytes", seen) as port, proxy(f"127.0.0.1:{port}") as at:
        answer = await ask(at, f"CONNECT 127.0.0.1:{port} HTTP/1.1\r\n\r\n".encode(), b"any\r\n\r\n")
    assert answer == b"HTTP/1.1 200 Connection established\r\n\r\nbytes"
    assert seen == [b"any\r\n\r\n"]


@pytest.mark.parametrize("name", ["oss-cn-x.aliyuncs.com", "OSS-cn-x.aliyuncs.com."])
async def test_names_of_the_cloud_lead_to_the_endpoints_for_clients_that_ask_the_proxy(name: str) -> None:
    hosts: list[bytes | None] = []

    async def serve(exchange: Exchange) -> None:
        hosts.append(exchange.request.header(b"host"))
        exchange.send_whole(200, [], b"", await exchange.read_body(100))

    endpoint = HttpServer(harness.Endpoint(serve))
    endpoint.open()
    own = Own(lambda name: name == "oss-cn-x.aliyuncs.com", {80: endpoint.take, 443: endpoint.take})
    request = f"Host: {name}\r\nContent-Length: 2\r\n".encode()
    async with proxy(own=own) as at:
        plain = await ask(at, f"PUT http://{name}/k HTTP/1.1\r\n".encode() + request + b"\r\n", b"ab")
        head = b"PUT /k HTTP/1.1\r\nConnection: close\r\n" + request + b"\r\n"
        tunnel = await ask(at, f"CONNECT {name}:443 HTTP/1.1\r\n\r\n".encode(), head, b"cd")
        nothing = await ask(at, f"CONNECT {name}:22 HTTP/1.1\r\n\r\n".encode())
    await endpoint.stop(grace_s=1.0)
    assert plain.startswith(b"HTTP/1.1 200 OK\r\n")
    assert plain.endswith(b"\r\n\r\nab")
    assert tunnel.startswith(b"HTTP/1.1 200 Connection established\r\n\r\nHTTP/1.1 200 OK\r\n")
    assert tunnel.endswith(b"\r\n\r\ncd")
    assert nothing.startswith(b"HTTP/1.1 502 Bad Gateway\r\n")
    assert hosts == [name.encode()] * 2


async def test_the_hosts_own_networks_are_refused() -> None:
    seen: list[bytes] = []
    async with server(b"", seen) as port, proxy(names=lambda _name: ["127.0.0.1"]) as at:
        for host in ("127.0.0.1", "0.0.0.0", "[::1]", "[::ffff:127.0.0.1]", "inner.example", "localhost"):
            for head in (f"CONNECT {host}:{port} HTTP/1.1", f"GET http://{host}:{port}/ HTTP/1.1"):
                answer = await ask(at, f"{head}\r\n\r\n".encode())
                assert answer.startswith(b"HTTP/1.1 403 Forbidden\r\n"), host
                assert b"network_allow" in answer
    assert seen == []


async def test_a_name_that_changes_its_meaning_leads_to_what_was_checked() -> None:
    asked: list[str] = []

    def names(name: str) -> list[str]:
        # The first answer may be reached, and every later one may not.
        asked.append(name)
        return ["127.0.0.2"] if len(asked) == 1 else ["127.0.0.1"]

    seen: list[bytes] = []
    async with server(b"secret", seen) as port, proxy("127.0.0.2", names=names) as at:
        answer = await ask(at, f"CONNECT changing.example:{port} HTTP/1.1\r\n\r\n".encode())
    assert answer.startswith(b"HTTP/1.1 502 ")
    assert (asked, seen) == (["changing.example"], [])


async def test_what_is_no_request_to_a_proxy_is_told_so() -> None:
    async with proxy() as at:
        for head in ("GET / HTTP/1.1", "GET ftp://example/ HTTP/1.1", "CONNECT host:port HTTP/1.1", "nothing"):
            assert (await ask(at, f"{head}\r\n\r\n".encode())).startswith(b"HTTP/1.1 400 ")
        with pytest.raises(ConnectionResetError):
            await ask(at, b"x" * 200_000)


async def test_a_host_that_cannot_be_found_is_told() -> None:
    def unknown(name: str) -> list[str]:
        raise socket.gaierror(f"no host {name}")

    async with proxy(names=unknown) as at:
        answer = await ask(at, b"CONNECT nowhere.example:443 HTTP/1.1\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 502 ")
    assert b"nowhere.example cannot be found" in answer


async def test_of_a_name_with_many_addresses_the_first_ones_count() -> None:
    outside = [f"198.51.100.{number}" for number in range(200)]
    checked: list[Address] = []

    class Refusing(EgressRules):
        def permit(self, address: Address, port: int) -> bool:
            checked.append(address)
            return False

    async def look_up(name: str, port: int) -> list[Address]:
        return [ipaddress.ip_address(address) for address in outside]

    listening = socket.create_server(("127.0.0.1", 0))
    listening.setblocking(False)
    end = EgressProxy(Refusing(), for_descriptors(FairRate(), DESCRIPTORS), look_up).serve(listening, "test")
    assert (await ask(listening.getsockname(), b"CONNECT many.example:1 HTTP/1.1\r\n\r\n")).startswith(b"HTTP/1.1 403 ")
    end()
    assert len(checked) == ADDRESSES_MAX


async def test_names_are_looked_up_as_this_machine_does() -> None:
    assert ipaddress.ip_address("127.0.0.1") in await look_up("127.0.0.1", 80)


async def test_connections_are_bounded_and_go_on_when_one_ends() -> None:
    seen: list[bytes] = []
    async with server(b"bytes", seen) as port, proxy(f"127.0.0.1:{port}") as at:
        silent = [await asyncio.open_connection(*at) for _ in range(CONNECTIONS_MAX)]
        asking = asyncio.create_task(ask(at, f"CONNECT 127.0.0.1:{port} HTTP/1.1\r\n\r\n".encode(), b"\r\n\r\n"))
        for _reader, writer in silent:
            writer.close()
        assert (await asking).endswith(b"bytes")


async def test_names_that_nobody_answers_for_keep_no_other_instance_from_its_own() -> None:
    started: list[str] = []
    never = asyncio.Event()

    async def look_up(name: str, port: int) -> list[Address]:
        started.append(name)
        if not name.startswith("good"):
            await never.wait()
        return [ipaddress.ip_address("198.51.100.1")]

    class Refusing(EgressRules):
        def permit(self, address: Address, port: int) -> bool:
            return False

    serving = EgressProxy(Refusing(), for_descriptors(FairRate(), DESCRIPTORS), look_up)
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(25)]
    ends = []
    for number, each in enumerate(sockets):
        each.setblocking(False)
        ends.append(serving.serve(each, f"instance {number}"))
    addresses = [each.getsockname() for each in sockets]
    hanging = [
        asyncio.create_task(ask(address, f"CONNECT hangs-{number}-{index}.example:1 HTTP/1.1\r\n\r\n".encode()))
        for index, address in enumerate(addresses[:24])
        for number in range(8)
    ]
    async with asyncio.timeout(60):
        while len(started) < 24 * LOOK_UPS_MAX:  # noqa: ASYNC110 (the kernel does it)
            await asyncio.sleep(0.001)
        assert (await ask(addresses[24], b"CONNECT good.example:1 HTTP/1.1\r\n\r\n")).startswith(b"HTTP/1.1 403 ")
    assert len(started) == 24 * LOOK_UPS_MAX + 1
    for end in ends:
        end()
    await asyncio.gather(*hanging, return_exceptions=True)
    never.set()
