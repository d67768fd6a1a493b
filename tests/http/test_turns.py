"""A burst of requests: how many start in one turn of the event loop, in which order, and when answers leave.

Run by pytest, without sockets.
"""

import asyncio

from tests.http.wire import Opening, Talk, Wire

from sesame.http.connection import Connection
from sesame.http.interface import Exchange
from sesame.http.shared import STARTS_PER_TURN

BURST = 3 * STARTS_PER_TURN + 5
TURNS_MAX = 200


class Burst:
    """Many connections of one server. `serve` answers 429, and notes which requests it saw, turn by turn."""

    def __init__(self) -> None:
        self.turns: list[list[str]] = [[]]
        self.talk = Talk(self._serve)
        self.wires: list[Wire] = []
        self.connections: list[Connection] = []

    async def _serve(self, exchange: Exchange) -> None:
        self.turns[-1].append(exchange.request.path)
        if exchange.request.path == "/waits":
            await asyncio.Event().wait()
        exchange.send_whole(429, (), b"", b"full")

    def ask(self, path: str) -> Connection:
        connection, wire = Connection(self.talk.shared, Opening()), Wire()
        connection.connection_made(wire)
        connection.data_received(b"GET %b HTTP/1.1\r\nHost: x\r\n\r\n" % path.encode())
        self.connections.append(connection)
        self.wires.append(wire)
        return connection

    async def turn(self) -> None:
        self.turns.append([])
        await asyncio.sleep(0)

    async def all_answered(self) -> None:
        for _ in range(TURNS_MAX):
            if all(wire.written or wire.closed for wire in self.wires):
                return
            await self.turn()
        raise AssertionError(f"answered {sum(bool(wire.written) for wire in self.wires)} of {len(self.wires)}")

    async def end(self) -> None:
        for connection in self.connections:
            connection.connection_lost(None)
        await self.talk.end()


async def test_no_more_requests_start_in_one_turn_than_may_and_all_are_answered_in_order() -> None:
    burst = Burst()
    for number in range(BURST):
        burst.ask(f"/{number}")
    await burst.all_answered()
    assert max(map(len, burst.turns)) == STARTS_PER_TURN
    assert [path for turn in burst.turns for path in turn] == [f"/{number}" for number in range(BURST)]
    await burst.end()


async def test_the_first_are_answered_before_the_last_are_started() -> None:
    burst = Burst()
    for number in range(BURST):
        burst.ask(f"/{number}")
    for _ in range(TURNS_MAX):
        if burst.wires[0].written:
            break
        await burst.turn()
    assert sum(map(len, burst.turns)) == STARTS_PER_TURN
    await burst.all_answered()
    await burst.end()


async def test_after_a_burst_a_request_starts_in_the_turn_in_which_it_comes() -> None:
    burst = Burst()
    for number in range(BURST):
        burst.ask(f"/{number}")
    await burst.all_answered()
    await burst.turn()
    burst.ask("/later")
    await burst.turn()
    assert burst.turns[-1] == ["/later"]
    await burst.end()


async def test_a_request_whose_client_has_gone_before_its_turn_is_not_started() -> None:
    burst = Burst()
    for number in range(BURST):
        burst.ask(f"/{number}")
    burst.connections.pop().connection_lost(None)
    burst.wires[-1].close()
    await burst.all_answered()
    await burst.turn()
    assert f"/{BURST - 1}" not in [path for turn in burst.turns for path in turn]
    assert not burst.talk.shared.running
    await burst.end()


async def test_what_waits_for_its_turn_when_a_server_gives_up_is_never_started() -> None:
    burst = Burst()
    for number in range(BURST):
        burst.ask(f"/{number}")
    burst.talk.shared.turns.give_up()
    for _ in range(BURST):
        await burst.turn()
    assert sum(map(len, burst.turns)) == STARTS_PER_TURN
    await burst.end()


async def test_a_refusal_does_not_wait_for_the_answers_of_calls_under_way() -> None:
    burst = Burst()
    for _ in range(STARTS_PER_TURN - 1):
        burst.ask("/waits")
    await burst.turn()
    burst.ask("/refused")
    await burst.turn()
    assert burst.turns[-1] == ["/refused"]
    assert burst.wires[-1].written.startswith(b"HTTP/1.1 429 ")
    await burst.end()


async def test_on_the_connection_of_a_refusal_the_next_request_is_answered() -> None:
    burst = Burst()
    connection = burst.ask("/one")
    await burst.all_answered()
    connection.data_received(b"GET /two HTTP/1.1\r\nHost: x\r\n\r\n")
    await burst.turn()
    await burst.turn()
    assert burst.wires[-1].written.count(b"HTTP/1.1 429 ") == 2
    assert not burst.wires[-1].closed
    await burst.end()
