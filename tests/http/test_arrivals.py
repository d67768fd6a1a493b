"""Connections of an instance are taken at a rate, over all sockets of it; those beyond it wait, and nobody else does.

Run by pytest, with clocks that a test moves for the rate alone.
"""

import asyncio
import socket
from collections.abc import Callable
from contextlib import ExitStack

from tests.http.harness import GET, Endpoint, serving, told
from tests.support.fakes import FakeClocks

from sesame.http.interface import Exchange
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
