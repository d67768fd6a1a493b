"""Datagrams to the outside: each flow has a socket of its own, and of both there is a bounded number."""

import asyncio
import socket
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any, cast

import pytest
from tests.support.fakes import FakeClocks

from sesame.inside.bounds import Bounds
from sesame.inside.datagrams import FLOWS_MAX, SILENT_S, Datagrams
from sesame.inside.rules import EgressRules, parse
from sesame.model.clocks import SYSTEM_CLOCKS, Clocks
from sesame.model.fair_rate import FairRate, Rates
from sesame.model.fair_share import FairSlots

SOURCE = "100.64.0.2"
PATIENCE_S = 60.0


class Inside:
    """The two sockets of an instance's network, without one: what is `sent`, and the packets that come back."""

    family = socket.AF_INET

    def __init__(self) -> None:
        self._ours, self._theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._ours.setblocking(False)
        self._to: deque[tuple[str, int, str, int]] = deque()
        self.answers: list[bytes] = []

    def send(self, data: bytes, to: tuple[str, int], source: tuple[str, int] = (SOURCE, 40_000)) -> None:
        self._to.append((*source, *to))
        self._theirs.send(data)

    def recvmsg(self, size: int, _control: int) -> tuple[bytes, list[tuple[int, int, bytes]], int, tuple[str, int]]:
        data = self._ours.recv(size)
        host, port, to, to_port = self._to.popleft()
        original = socket.AF_INET.to_bytes(2, "little") + to_port.to_bytes(2, "big") + socket.inet_aton(to) + bytes(8)
        return data, [(socket.SOL_IP, 20, original)], 0, (host, port)

    def sendto(self, packet: bytes, _to: Any) -> None:
        self.answers.append(packet)

    def fileno(self) -> int:
        return self._ours.fileno()

    def close(self) -> None:
        self._ours.close()
        self._theirs.close()


class Relay:
    """One instance, whose flows take `slots`."""

    def __init__(
        self, *allowed: str, clocks: Clocks = SYSTEM_CLOCKS, rates: Rates | None = None, opening: Rates | None = None
    ) -> None:
        self.inside = Inside()
        self.slots = FairSlots(10 * FLOWS_MAX, 10 * FLOWS_MAX)
        passing = FairRate(SYSTEM_CLOCKS, rates or Rates(1e6, 1e6, 1e6, 1e6))
        bounds = Bounds(FairRate(), FairRate(clocks, opening or Rates(1e6, 1e6, 1e6, 1e6)), passing, self.slots)
        datagrams = Datagrams(EgressRules([parse(each) for each in allowed]), bounds, SOURCE, clocks)
        as_socket = cast("socket.socket", self.inside)
        ends = [datagrams.serve_answers(cast("socket.socket", Answering(self.inside)), "one")]
        ends.append(datagrams.serve(as_socket, "one"))
        self._ends = ends

    @property
    def flows(self) -> int:
        return 10 * FLOWS_MAX - self.slots.free

    def end(self) -> None:
        for end in reversed(self._ends):
            end()


class Answering:
    def __init__(self, inside: Inside) -> None:
        self.sendto = inside.sendto

    def close(self) -> None:
        """The socket is the test's."""


@pytest.fixture
def echo() -> Iterator[Callable[[], socket.socket]]:
    """Makes sockets of the outside that do not answer by themselves."""
    made: list[socket.socket] = []

    def make() -> socket.socket:
        receiving = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        made.append(receiving)
        receiving.bind(("127.0.0.1", 0))
        receiving.setblocking(False)
        return receiving

    yield make
    for each in made:
        each.close()


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not holds():  # noqa: ASYNC110 (the kernel does it)
            await asyncio.sleep(0.001)


async def received(of: socket.socket) -> tuple[bytes, Any]:
    async with asyncio.timeout(PATIENCE_S):
        return await asyncio.get_running_loop().sock_recvfrom(of, 65_535)


async def test_an_answer_comes_from_whom_was_asked(echo: Callable[[], socket.socket]) -> None:
    outside, relay = echo(), Relay("127.0.0.1")
    relay.inside.send(b"question", outside.getsockname())
    data, peer = await received(outside)
    assert data == b"question"
    outside.sendto(b"answer", peer)
    # Nobody else may answer.
    echo().sendto(b"forged", peer)
    await until(lambda: bool(relay.inside.answers))
    relay.inside.send(b"again", outside.getsockname())
    assert (await received(outside)) == (b"again", peer)
    (packet,) = relay.inside.answers
    assert packet[12:20] == socket.inet_aton("127.0.0.1") + socket.inet_aton(SOURCE)
    port = outside.getsockname()[1]
    assert packet[20:24] == port.to_bytes(2, "big") + (40_000).to_bytes(2, "big")
    assert packet[28:] == b"answer"
    assert relay.flows == 1
    relay.end()
    assert relay.flows == 0


async def test_what_may_not_be_reached_gets_nothing(echo: Callable[[], socket.socket]) -> None:
    refused, allowed = echo(), echo()
    relay = Relay(f"127.0.0.1:{allowed.getsockname()[1]}")
    relay.inside.send(b"refused", refused.getsockname())
    relay.inside.send(b"of another source", allowed.getsockname(), ("198.51.100.9", 40_000))
    relay.inside.send(b"to no port", ("127.0.0.1", 0))
    relay.inside.send(b"allowed", allowed.getsockname())
    assert (await received(allowed))[0] == b"allowed"
    with pytest.raises(BlockingIOError):
        refused.recv(100)
    assert relay.flows == 1
    relay.end()


async def test_the_flow_that_is_silent_for_longest_makes_room(echo: Callable[[], socket.socket]) -> None:
    outside, relay = echo(), Relay("127.0.0.1")
    ports = range(20_000, 20_000 + FLOWS_MAX + 5)
    for port in ports:
        relay.inside.send(b"question", outside.getsockname(), (SOURCE, port))
        await received(outside)
        if port > ports[0]:
            # This one is not silent.
            relay.inside.send(b"first", outside.getsockname(), (SOURCE, ports[0]))
            await received(outside)
    assert relay.flows == FLOWS_MAX
    relay.end()
    assert relay.flows == 0


async def test_silent_flows_end(echo: Callable[[], socket.socket]) -> None:
    clocks, outside = FakeClocks(), echo()
    relay = Relay("127.0.0.1", clocks=clocks)
    for port in (1, 2):
        relay.inside.send(b"question", outside.getsockname(), (SOURCE, port))
        await received(outside)
        clocks.advance(SILENT_S / 2 - 1)
    assert relay.flows == 2
    clocks.advance(3)
    assert relay.flows == 1
    clocks.advance(SILENT_S)
    assert relay.flows == 0
    relay.inside.send(b"again", outside.getsockname(), (SOURCE, 1))
    assert (await received(outside))[0] == b"again"
    relay.end()


async def test_datagrams_beyond_the_rate_wait(echo: Callable[[], socket.socket]) -> None:
    outside = echo()
    relay = Relay("127.0.0.1", rates=Rates(each_per_s=50, each_burst=2, all_per_s=50, all_burst=2))
    for number in range(40):
        relay.inside.send(b"%d" % number, outside.getsockname())
    assert [(await received(outside))[0] for _ in range(40)] == [b"%d" % number for number in range(40)]
    relay.end()


async def test_flows_beyond_the_rate_are_not_opened(echo: Callable[[], socket.socket]) -> None:
    clocks, outside = FakeClocks(), echo()
    relay = Relay("127.0.0.1", clocks=clocks, opening=Rates(each_per_s=1, each_burst=2, all_per_s=9, all_burst=9))
    for port in (1, 2, 3):
        relay.inside.send(b"%d" % port, outside.getsockname(), (SOURCE, port))
    assert [(await received(outside))[0] for _ in range(2)] == [b"1", b"2"]
    # The third one was lost; a flow that is open goes on.
    relay.inside.send(b"1 again", outside.getsockname(), (SOURCE, 1))
    assert (await received(outside))[0] == b"1 again"
    assert relay.flows == 2
    clocks.advance(1)
    relay.inside.send(b"3 again", outside.getsockname(), (SOURCE, 3))
    assert (await received(outside))[0] == b"3 again"
    relay.end()
