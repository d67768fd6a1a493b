"""Requests that go on in another server, with their connection, in the midst of others: over real sockets."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from tests.http.harness import TIMEOUT_S, Endpoint, Serve, serving, until, whole

from sesame.http.interface import Exchange
from sesame.http.limits import Limits
from sesame.http.moving import Arrived, connection_of, is_proven, move, settle
from sesame.http.server import HttpServer
from sesame.http.shared import Way

GET = b"GET /%b HTTP/1.1\r\nHost: x\r\n\r\n"
POST = b"POST /%b HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nevent"
CHUNKS = b"POST /%b HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nev\r\n3\r\nent\r\n0\r\n\r\n"
LAST = b"GET /%b HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"


@asynccontextmanager
async def two() -> AsyncIterator[HttpServer]:
    """The first of two servers, `a`: each serves paths that begin with its name, and moves others."""
    servers: dict[str, HttpServer] = {}

    def serve_of(name: str) -> Serve:
        async def serve(exchange: Exchange) -> None:
            if exchange.request.path[1] != name:
                moved = await move(exchange, proven=exchange.request.path.endswith("proven"))
                assert moved is not None
                other = next(each for key, each in servers.items() if key != name)
                other.adopt(socket.socket(fileno=moved.fd), moved.arrived)
                return
            settle(exchange)
            proven = b" proven" if is_proven(exchange) else b""
            body = bytes(await exchange.read_body(1000))
            exchange.send_whole(200, (), b"", b"<%b %b%b>" % (exchange.request.raw_path, body, proven))

        return serve

    async with (
        serving(serve_of("a"), keeps=lambda _request: True) as first,
        serving(serve_of("b"), keeps=lambda _request: True) as second,
    ):
        servers |= {"a": first, "b": second}
        yield first


async def answers(pieces: list[bytes]) -> list[bytes]:
    async with two() as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        try:
            for piece in pieces:
                writer.write(piece)
                await asyncio.sleep(0.001)
            said = await asyncio.wait_for(reader.read(), TIMEOUT_S)
        finally:
            writer.close()
        return [part.partition(b">")[0] for part in said.split(b"<")[1:]]


REQUESTS = POST % b"a1" + GET % b"b2" + CHUNKS % b"a3" + CHUNKS % b"b4" + POST % b"b5" + GET % b"a6" + LAST % b"b7"
ANSWERS = [b"/a1 event", b"/b2 ", b"/a3 event", b"/b4 event", b"/b5 event", b"/a6 ", b"/b7 "]


async def test_requests_that_come_together_are_served_each_where_it_belongs() -> None:
    assert await answers([REQUESTS]) == ANSWERS


@pytest.mark.parametrize("size", [1, 2, 3, 7, 40, 61, 100])
async def test_wherever_the_pieces_end(size: int) -> None:
    assert await answers([REQUESTS[at : at + size] for at in range(0, len(REQUESTS), size)]) == ANSWERS


async def test_a_head_that_is_known_and_what_comes_behind_it() -> None:
    known = POST % b"a1"
    assert await answers([known, known, known + GET % b"b2" + known, LAST % b"a7"]) == [
        *[b"/a1 event"] * 3,
        b"/b2 ",
        b"/a1 event",
        b"/a7 ",
    ]


async def test_a_request_behind_one_that_was_proven_is_not() -> None:
    """Else a nonce that was used could be used again."""
    assert await answers([GET % b"b-proven" + GET % b"b2" + LAST % b"b3"]) == [b"/b-proven  proven", b"/b2 ", b"/b3 "]


async def test_what_was_read_of_a_request_that_stays_is_not_kept() -> None:
    kept: list[int] = []

    async def serve(exchange: Exchange) -> None:
        settle(exchange)
        body = await exchange.read_body(1_000_000)
        connection = connection_of(exchange)
        assert connection is not None
        kept.append(connection.kept_bytes)
        exchange.send_whole(200, (), b"", b"%d" % len(body))

    async with serving(serve, keeps=lambda _request: True) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        head = b"POST /a HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 500000\r\n\r\n"
        writer.write(head + b"x" * 500_000)
        said = await asyncio.wait_for(reader.read(), TIMEOUT_S)
        writer.close()
    assert said.endswith(b"500000")
    assert kept == [0]


CLIENT, THERE = ("192.0.2.7", 4321), ("192.0.2.1", 9000)


async def told_through(server: HttpServer, said: bytes, arrived: Arrived) -> bytes:
    """What comes back through a connection of another machine until the server closes it."""
    ours, theirs = socket.socketpair()
    server.adopt(theirs, arrived)
    reader, writer = await asyncio.open_connection(sock=ours)
    writer.write(said)
    try:
        return await asyncio.wait_for(reader.read(), TIMEOUT_S)
    finally:
        writer.close()


async def test_what_was_adopted_since_a_server_has_stopped_is_answered_before_it_stops_again() -> None:
    async def serve(exchange: Exchange) -> None:
        settle(exchange)
        await asyncio.sleep(0.01)
        exchange.send_whole(200, (), b"", b"answered")

    async with serving(serve, keeps=lambda _request: True) as server:
        await server.stop(TIMEOUT_S)
        ours, theirs = socket.socketpair()
        server.adopt(theirs, Arrived(b"", 0, way=Way(CLIENT, THERE, 1)))
        ending = asyncio.ensure_future(server.stop_again(TIMEOUT_S))
        reader, writer = await asyncio.open_connection(sock=ours)
        await asyncio.sleep(0)
        writer.write(GET % b"a")
        said = await asyncio.wait_for(reader.read(), TIMEOUT_S)
        writer.close()
        await asyncio.wait_for(ending, TIMEOUT_S)
    assert said.endswith(b"answered")


async def test_who_hurries_while_a_server_awaits_last_requests_waits_for_none_of_them() -> None:
    came, cancelled = asyncio.Event(), asyncio.Event()

    async def serve(exchange: Exchange) -> None:
        settle(exchange)
        came.set()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    async with serving(serve, keeps=lambda _request: True) as server:
        await server.stop(TIMEOUT_S)
        ours, theirs = socket.socketpair()
        server.adopt(theirs, Arrived(GET % b"a", 0, way=Way(CLIENT, THERE, 1)))
        await asyncio.wait_for(came.wait(), TIMEOUT_S)
        ending = asyncio.ensure_future(server.stop_again(3600.0))
        await asyncio.sleep(0)
        server.hurry()
        await asyncio.wait_for(ending, TIMEOUT_S)
        ours.close()
    assert cancelled.is_set()


async def addresses(exchange: Exchange) -> None:
    settle(exchange)
    request, proven = exchange.request, is_proven(exchange)
    exchange.send_whole(200, (), b"", repr((request.client, request.server, proven)).encode())


@pytest.mark.parametrize("movable", [True, False])
async def test_a_connection_of_another_machine_has_its_clients_address(movable: bool) -> None:
    """Also at a server whose connections never move."""
    keeps = (lambda _request: True) if movable else None
    async with serving(addresses, keeps=keeps) as server:
        said = await told_through(
            server, GET % b"1" + LAST % b"2", Arrived(b"", 1, proven=True, way=Way(CLIENT, THERE, 1))
        )
    bodies = [part.rpartition(b"\r\n\r\n")[2] for part in said.split(b"HTTP/1.1 ")[1:]]
    assert bodies == [repr((CLIENT, THERE, proven)).encode() for proven in (movable, False)]


async def test_a_connection_that_came_through_two_machines_closes_after_its_next_answer() -> None:
    async with serving(addresses, keeps=lambda _request: True) as server:
        for machines, answers in ((1, 2), (2, 1)):
            said = await told_through(
                server, GET % b"1" + LAST % b"2", Arrived(b"", 1, way=Way(CLIENT, THERE, machines))
            )
            assert said.count(b"HTTP/1.1 200") == answers
            assert said.count(b"onnection: close") == 1


async def test_connections_of_other_machines_are_bounded_by_their_clients_addresses() -> None:
    came: list[Exchange] = []

    async def wait(exchange: Exchange) -> None:
        came.append(exchange)
        await exchange.gone()

    limits = Limits(connections=8, connections_per_peer=2)
    async with serving(wait, limits, keeps=lambda _request: True) as server:
        waiting = [asyncio.ensure_future(told_through(server, GET % b"1", arrived_of(CLIENT))) for _ in range(2)]
        # One that has said nothing yet would be closed for the next.
        await until(lambda: len(came) == len(waiting), "both requests")
        assert b" 503 " in await told_through(server, LAST % b"2", arrived_of(CLIENT))
        other = asyncio.ensure_future(told_through(server, GET % b"3", arrived_of(("192.0.2.8", 1))))
        await until(lambda: server.connections == len(waiting) + 1, "the connection of another client")
        for task in (*waiting, other):
            assert not task.done()
            task.cancel()


def arrived_of(client: tuple[str, int]) -> Arrived:
    return Arrived(b"", 1, way=Way(client, THERE, 1))


async def test_a_request_that_nobody_can_serve_is_told_why() -> None:
    endpoint = Endpoint(whole(b"never"))
    async with serving(endpoint, keeps=lambda _request: True) as server:
        said = await told_through(
            server, b"event", Arrived(POST[:-5] % b"1", 1, way=Way(CLIENT, THERE, 1), refusal="the writer is away")
        )
    assert said.startswith(b"HTTP/1.1 503 ")
    assert [each.message for each in endpoint.refused] == ["the writer is away"]


async def test_what_chance_has_decided_moves_with_its_request_and_is_no_other_ones() -> None:
    moved: list[Arrived] = []
    seen: list[str] = []

    async def serve(exchange: Exchange) -> None:
        connection = connection_of(exchange)
        assert connection is not None
        seen.append(connection.drawn)
        if exchange.request.raw_path == b"/1":
            settle(exchange)
            exchange.send_whole(200, (), b"", b"")
            return
        connection.drawn = "7"
        gone = await move(exchange, proven=False)
        assert gone is not None
        moved.append(gone.arrived)
        socket.socket(fileno=gone.fd).close()

    async with serving(serve, keeps=lambda _request: False) as server:
        await told_through(server, GET % b"1" + GET % b"2", Arrived(b"", 1, way=Way(CLIENT, THERE, 1), drawn="3"))
    assert seen == ["3", ""]
    assert [each.drawn for each in moved] == ["7"]


async def test_the_way_of_a_connection_that_moves_on_goes_with_it() -> None:
    moved: list[Arrived] = []

    async def serve(exchange: Exchange) -> None:
        gone = await move(exchange, proven=False)
        assert gone is not None
        moved.append(gone.arrived)
        socket.socket(fileno=gone.fd).close()

    way = Way(CLIENT, THERE, 1)
    async with serving(serve, keeps=lambda _request: False) as server:
        assert await told_through(server, GET % b"1", Arrived(b"", 1, way=way)) == b""
    assert moved == [Arrived(GET % b"1", 2, way=way)]
