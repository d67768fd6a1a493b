"""Connections from inside a network: how many, when they are closed, and what happens without descriptors."""

import asyncio
import errno
import socket
from collections.abc import Callable
from typing import Any, NoReturn

import pytest
from tests.support.fakes import FakeClocks

from sesame.inside import relaying
from sesame.inside.bounds import BYTE_UNITS, Bounds, Client, for_descriptors
from sesame.inside.relaying import Acceptor, Handle, closing, connected, relay
from sesame.model.fair_rate import TURN_S, FairRate, Rates, Share
from sesame.model.fair_share import FairSlots

SAID = b"x" * 60_000
PATIENCE_S = 60.0
DESCRIPTORS = 2048


async def test_a_connection_counts_until_all_is_taken() -> None:
    ours, theirs = socket.socketpair()
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    for each in (ours, theirs):
        each.setblocking(False)
    _reader, writer = await asyncio.open_connection(sock=ours)

    async def say() -> None:
        writer.write(SAID)

    working = asyncio.create_task(closing(writer, say()))
    for _ in range(10):
        await asyncio.sleep(0)
    assert not working.done()
    taken = b""
    with theirs:
        while piece := await asyncio.wait_for(asyncio.get_running_loop().sock_recv(theirs, 65536), PATIENCE_S):
            taken += piece
    assert taken == SAID
    await asyncio.wait_for(working, PATIENCE_S)


class Exhausted(socket.socket):
    """Has a connection that wants to be accepted, and no descriptor for it."""

    tries = 0

    def accept(self) -> NoReturn:
        self.tries += 1
        raise OSError(errno.EMFILE, "Too many open files")


async def test_without_descriptors_the_event_loop_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relaying, "PAUSE_S", 3600.0)
    with Exhausted() as listening, socket.socket() as client:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        listening.setblocking(False)
        client.connect(listening.getsockname())
        acceptor = Acceptor(
            listening, lambda _reader, _writer: asyncio.sleep(0), for_descriptors(FairRate(), DESCRIPTORS).of("test")
        )
        for _ in range(100):
            await asyncio.sleep(0)
        assert listening.tries == 1
        acceptor.end()


async def test_connections_beyond_the_rate_wait_in_the_kernel_and_others_go_on() -> None:
    clocks = FakeClocks()
    rate = FairRate(clocks, Rates(each_per_s=100, each_burst=5, all_per_s=1000, all_burst=100))
    bounds = for_descriptors(rate, DESCRIPTORS)
    served: dict[str, int] = {"busy": 0, "quiet": 0}

    def acceptor(name: str) -> tuple[socket.socket, Acceptor]:
        async def serve(_reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
            served[name] += 1

        return accepting(serve, bounds.of(name))

    (busy, busy_acceptor), (quiet, quiet_acceptor) = acceptor("busy"), acceptor("quiet")
    clients = [socket.create_connection(busy.getsockname()) for _ in range(20)]
    await until(lambda: served["busy"] == 5)
    clients.append(socket.create_connection(quiet.getsockname()))
    await until(lambda: served["quiet"] == 1)
    assert served["busy"] == 5
    while served["busy"] < 20:
        clocks.advance(TURN_S)
        before = served["busy"]
        await until(lambda before=before: served["busy"] > before)  # type: ignore[misc]
        assert served["busy"] - before <= 2
    for each in (busy_acceptor, quiet_acceptor):
        each.end()
    for client in clients:
        client.close()


class Waits(FairRate):
    """Counts those who wait for their turn now."""

    now = 0

    def wait(self, bucket: Any, resume: Callable[[], None]) -> Callable[[], None]:
        def go_on() -> None:
            self.now -= 1
            resume()

        self.now += 1
        return super().wait(bucket, go_on)


async def test_connections_that_end_while_others_wait_add_nothing_that_waits() -> None:
    clocks, holding = FakeClocks(), Holding()
    rate = Waits(clocks, Rates(each_per_s=100, each_burst=5, all_per_s=1000, all_burst=100))
    listening, acceptor = accepting(holding.serve, for_descriptors(rate, DESCRIPTORS).of("test"))
    clients = [socket.create_connection(listening.getsockname()) for _ in range(12)]
    while holding.served < 12:
        before = holding.served
        clocks.advance(TURN_S if before else 0)
        await until(lambda before=before: holding.served > before)  # type: ignore[misc]
        # They end one after the other.
        for client in clients[before : holding.served]:
            client.close()
            for _ in range(20):
                await asyncio.sleep(0.001)
        assert rate.now <= 1
    acceptor.end()


def accepting(serve: Handle, client: Client) -> tuple[socket.socket, Acceptor]:
    listening = socket.create_server(("127.0.0.1", 0), backlog=100)
    listening.setblocking(False)
    return listening, Acceptor(listening, serve, client)


class Holding:
    """Counts connections, and holds each until its client leaves."""

    served = 0

    async def serve(self, reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        self.served += 1
        await reader.read()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not condition():  # noqa: ASYNC110 (the kernel does it)
            await asyncio.sleep(0.001)


async def test_all_instances_together_have_a_bound_and_who_has_nothing_is_served_first() -> None:
    bounds = for_descriptors(FairRate(), 24)
    open_ones: dict[str, list[asyncio.StreamReader]] = {}

    def acceptor(name: str) -> tuple[socket.socket, Acceptor]:
        async def serve(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
            open_ones.setdefault(name, []).append(reader)
            await reader.read()
            open_ones[name].remove(reader)

        return accepting(serve, bounds.of(name))

    made = {name: acceptor(name) for name in ("first", "second", "quiet")}
    clients = {
        name: [socket.create_connection(made[name][0].getsockname()) for _ in range(12)] for name in ("first", "second")
    }
    # Twelve for all: of what is free, half as much for each.
    await until(lambda: sum(map(len, open_ones.values())) >= 6)
    clients["quiet"] = [socket.create_connection(made["quiet"][0].getsockname())]
    await until(lambda: len(open_ones.get("quiet", [])) == 1)
    assert sum(map(len, open_ones.values())) <= 12
    # As connections end, those that wait are taken, and no slot is lost.
    for name in ("first", "second"):
        for client in clients[name]:
            client.close()
    await until(lambda: len(open_ones["first"]) + len(open_ones["second"]) == 0)
    clients["quiet"] += [socket.create_connection(made["quiet"][0].getsockname()) for _ in range(3)]
    await until(lambda: len(open_ones["quiet"]) == 4)
    for _listening, each in made.values():
        each.end()
    await until(lambda: bounds.slots.free == 12)
    for client in clients["quiet"]:
        client.close()


async def test_a_slot_is_not_kept_when_no_connection_waits_for_it() -> None:
    # Two for all: of what is left of them, who has one may not have the other.
    bounds = Bounds(FairRate(), FairRate(), FairRate(), FairSlots(2, 256))
    holding = Holding()
    listening, acceptor = accepting(holding.serve, bounds.of("test"))
    for number in (1, 2):
        with socket.create_connection(listening.getsockname()):
            await until(lambda number=number: holding.served == number)  # type: ignore[misc]
            assert bounds.slots.free == 1
        await until(lambda: bounds.slots.free == 2)
    acceptor.end()


async def test_who_was_given_a_slot_waits_for_the_next() -> None:
    bounds = Bounds(FairRate(), FairRate(), FairRate(), FairSlots(10, 256))
    others = [f"other {number}" for number in range(6)]
    assert all(bounds.slots.take(name) for name in others)
    holding = Holding()
    listening, acceptor = accepting(holding.serve, bounds.of("test"))
    clients = [socket.create_connection(listening.getsockname()) for _ in range(3)]
    # One more is given only while more than twice as many are free as it has.
    for number, given_back in ((1, 0), (2, 1), (3, 3)):
        for _ in range(given_back):
            bounds.slots.give_back(others.pop())
        await until(lambda number=number: holding.served == number)  # type: ignore[misc]
    acceptor.end()
    for client in clients:
        client.close()


async def test_bytes_beyond_the_rate_wait_and_others_go_on() -> None:
    clocks = FakeClocks()
    rate = FairRate(clocks, Rates(each_per_s=10, each_burst=1, all_per_s=100, all_burst=100))
    sent = b"x" * 1_000_000
    # Pieces are no larger than 64 KB: so many units they cost at least.
    units = len(sent) * BYTE_UNITS
    passing = [Passing(rate.of(name)) for name in ("greedy", "modest")]
    greedy, modest = passing
    sending = asyncio.ensure_future(asyncio.get_running_loop().sock_sendall(greedy.client, sent))
    await until(lambda: rate.of("greedy").allows() is False)
    await asyncio.get_running_loop().sock_sendall(modest.client, b"hello")
    assert await said(modest.server) == b"hello"
    came = 0
    began = clocks.monotonic()
    async with asyncio.timeout(PATIENCE_S):
        while came < len(sent):
            try:
                came += len(greedy.server.recv(1_000_000))
            except BlockingIOError:
                clocks.advance(TURN_S)
                await asyncio.sleep(0)
    assert clocks.monotonic() - began >= (units - 2) / 10
    await sending
    for each in passing:
        await each.end()


async def test_connections_to_the_outside_are_opened_at_a_rate() -> None:
    clocks = FakeClocks()
    rate = FairRate(clocks, Rates(each_per_s=1, each_burst=1, all_per_s=100, all_burst=100))
    bounds = Bounds(FairRate(), rate, FairRate(), FairSlots(10, 10))
    with socket.create_server(("127.0.0.1", 0)) as outside:
        where = (*outside.getsockname(), PATIENCE_S)
        first, second = bounds.of("first"), bounds.of("second")
        opened = [await connected(client, *where) for client in (first, second)]
        waiting = asyncio.ensure_future(connected(first, *where))
        for _ in range(10):
            await asyncio.sleep(0)
        assert not waiting.done()
        clocks.advance(1 + TURN_S)
        opened.append(await asyncio.wait_for(waiting, PATIENCE_S))
        for _reader, writer in opened:
            writer.close()


class Passing:
    """Two connections with a relay between them."""

    def __init__(self, share: Share) -> None:
        self.client, near = socket.socketpair()
        self.server, far = socket.socketpair()
        for each in (self.client, near, self.server, far):
            each.setblocking(False)
        self._relaying = asyncio.ensure_future(self._relay(near, far, share))

    async def _relay(self, near: socket.socket, far: socket.socket, share: Share) -> None:
        first, second = [await asyncio.open_connection(sock=each) for each in (near, far)]
        try:
            await relay(first, second, share)
        finally:
            for _reader, writer in (first, second):
                writer.transport.abort()

    async def end(self) -> None:
        self.client.close()
        self.server.close()
        self._relaying.cancel()
        await asyncio.wait([self._relaying])


async def said(connection: socket.socket) -> bytes:
    async with asyncio.timeout(PATIENCE_S):
        return await asyncio.get_running_loop().sock_recv(connection, 100)
