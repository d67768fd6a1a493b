"""One server leaves its sockets to another one, as when Sesame restarts: no client notices."""

import asyncio
import contextlib
import errno
import os
import socket
import ssl
import time
from pathlib import Path

import pytest
import websockets
from tests.http import harness
from tests.http.harness import TIMEOUT_S, Endpoint, until
from tests.support import certificates
from tests.support.fakes import FakeClocks

from sesame._listening import Serving, serve
from sesame._patience import Patience
from sesame.http import server
from sesame.http.handover import AT_ONCE, Handed, Handover
from sesame.http.interface import Answer, Disconnected, Exchange, Refusal, WebSocket
from sesame.http.server import HttpServer
from sesame.http.slow_start import AT_FIRST, LOOKS_EVERY_S, MORE_PER_S
from sesame.http.websocket import SERVICE_RESTART

REQUEST = b"GET /%b HTTP/1.1\r\nHost: x\r\n\r\n"


class Client:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self.writer = writer

    @classmethod
    async def connected(cls, port: int, tls: ssl.SSLContext | None = None) -> "Client":
        return cls(*await asyncio.open_connection("127.0.0.1", port, ssl=tls))

    def ask(self, what: bytes) -> None:
        self.writer.write(REQUEST % what)

    async def answer(self) -> tuple[bytes, bytes]:
        """Head and body of the next one."""
        async with asyncio.timeout(TIMEOUT_S):
            head = await self._reader.readuntil(b"\r\n\r\n")
            length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
            return head.lower(), await self._reader.readexactly(int(length.split(b":")[1]))

    async def said(self, what: bytes) -> bytes:
        self.ask(what)
        return (await self.answer())[1]

    async def ended(self) -> bool:
        async with asyncio.timeout(TIMEOUT_S):
            return await self._reader.read() == b""


class Slow:
    """Answers when it is let go."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.go = asyncio.Event()

    async def serve(self, exchange: Exchange) -> None:
        self.asked.set()
        await self.go.wait()
        exchange.send_whole(200, (), b"", b"slow")


async def named(name: bytes, handed: Handed | None = None) -> HttpServer:
    """A server that answers with its name and the path."""

    async def serve(exchange: Exchange) -> None:
        exchange.send_whole(200, (), b"", name + exchange.request.raw_path)

    made = HttpServer(Endpoint(serve))
    await made.start(handed)
    return made


class Counting:
    """Holds its requests until it is let go, and counts them."""

    def __init__(self) -> None:
        self.running = self.answered = 0
        self.go = asyncio.Event()

    async def serve(self, exchange: Exchange) -> None:
        self.running += 1
        await self.go.wait()
        self.running -= 1
        self.answered += 1
        exchange.send_whole(200, (), b"", b"counted")


async def left_by(leaving: HttpServer) -> Handed:
    handed = await leaving.hand_over("it")
    await leaving.stop(grace_s=TIMEOUT_S)
    return handed


async def test_connections_that_wait_go_on_with_the_next_server() -> None:
    first = await named(b"first")
    silent, busy = await Client.connected(first.port), await Client.connected(first.port)
    assert await busy.said(b"1") == b"first/1"
    await until(lambda: first.connections == 2, "both to be accepted")
    handed = await left_by(first)
    assert len(handed.connections) == 2
    # While nobody answers, one asks that was there, and one comes.
    busy.ask(b"2")
    late = await Client.connected(first.port)
    late.ask(b"3")
    second = await named(b"second", handed)
    assert second.port == first.port
    assert [(await client.answer())[1] for client in (busy, late)] == [b"second/2", b"second/3"]
    assert await silent.said(b"4") == b"second/4"
    assert second.connections == 3
    for client in (silent, busy, late):
        client.writer.close()
    await until(lambda: second.connections == 0, "all to have left")
    await second.stop(grace_s=1)


async def test_what_has_come_and_was_not_accepted_goes_on_too() -> None:
    first = await named(b"first")
    client = await Client.connected(first.port)
    client.ask(b"1")
    # The client's connection stands; the server's loop has had no turn to accept it.
    second = await named(b"second", await left_by(first))
    assert (await client.answer())[1] in (b"first/1", b"second/1")
    client.writer.close()
    await second.stop(grace_s=1)


async def test_what_is_handed_over_to_nobody_is_closed() -> None:
    servers = [await named(b"before"), await named(b"after")]
    handover = Handover()
    handover.begun = True
    handover.leave(await left_by(servers[0]))
    handover.give_up()
    handover.leave(await left_by(servers[1]))
    for stopped in servers:
        with pytest.raises(ConnectionRefusedError):
            await Client.connected(stopped.port)
    assert handover.handed == []


async def test_what_has_queued_is_taken_a_few_at_a_time() -> None:
    first = await named(b"first")
    clients = [await Client.connected(first.port) for _ in range(AT_FIRST)]
    await until(lambda: first.connections == AT_FIRST, "them to be accepted")
    handed = await left_by(first)
    clients += [await Client.connected(first.port) for _ in range(3 * AT_FIRST)]
    for client in clients:
        client.ask(b"1")
    counting, clocks = Counting(), FakeClocks()
    second = HttpServer(Endpoint(counting.serve), clocks=clocks)
    await second.start(handed)
    await until(lambda: counting.running == AT_FIRST, "as many as may run at first")
    for _ in range(20):
        await asyncio.sleep(LOOKS_EVERY_S)
        assert counting.running == AT_FIRST
    clocks.advance(2 / MORE_PER_S)
    await until(lambda: counting.running == AT_FIRST + 2, "more, as time passes")
    counting.go.set()
    for client in clients:
        assert (await client.answer())[1] == b"counted"
        client.writer.close()
    await second.stop(grace_s=1)


async def test_no_more_are_taken_at_a_time_by_a_slow_event_loop() -> None:
    first = await named(b"first")
    handed = await left_by(first)
    clients = [await Client.connected(first.port) for _ in range(3 * AT_FIRST)]
    for client in clients:
        client.ask(b"1")
    counting, loop, slow = Counting(), asyncio.get_running_loop(), True

    def delay_turn() -> None:
        time.sleep(LOOKS_EVERY_S)
        if slow:
            loop.call_soon(delay_turn)

    second = HttpServer(Endpoint(counting.serve), clocks=FakeClocks())
    delay_turn()
    await second.start(handed)
    await until(lambda: counting.running >= AT_FIRST, "as many as may run at first")
    for _ in range(20):
        await asyncio.sleep(0)
        assert counting.running == AT_FIRST
    slow = False
    counting.go.set()
    for client in clients:
        assert (await client.answer())[1] == b"counted"
        client.writer.close()
    await second.stop(grace_s=1)


async def test_a_server_listens_although_a_connection_cannot_be_taken_over() -> None:
    handed = await left_by(await named(b"first"))
    # The address of its client is no pair of host and port.
    ours, theirs = socket.socketpair()
    second = await named(b"second", Handed(handed.name, handed.listening, (theirs.detach(),), 0))
    client = await Client.connected(second.port)
    assert await client.said(b"1") == b"second/1"
    for closed in (ours, client.writer):
        closed.close()
    await second.stop(grace_s=1)


async def test_connections_that_are_silent_go_on_in_several_turns() -> None:
    first = await named(b"first")
    clients = [await Client.connected(first.port) for _ in range(3 * AT_ONCE)]
    await until(lambda: first.connections == 3 * AT_ONCE, "them to be accepted")
    second = await named(b"second", await left_by(first))
    before = second.connections
    while before < 3 * AT_ONCE:
        await asyncio.sleep(0)
        assert second.connections - before <= AT_ONCE
        before = second.connections
    for client in clients:
        client.writer.close()
    await second.stop(grace_s=1)


async def test_what_still_queues_when_the_next_server_stops_goes_on_with_the_one_after() -> None:
    first = await named(b"first")
    clients = [await Client.connected(first.port) for _ in range(3 * AT_FIRST)]
    await until(lambda: first.connections == 3 * AT_FIRST, "them to be accepted")
    handed = await left_by(first)
    for client in clients:
        client.ask(b"1")
    counting = Counting()
    second = HttpServer(Endpoint(counting.serve), clocks=FakeClocks())
    await second.start(handed)
    await until(lambda: counting.running == AT_FIRST, "as many as may run at first")
    counting.go.set()
    third = await named(b"third", await left_by(second))
    said = [(await client.answer())[1] for client in clients]
    assert set(said) == {b"counted", b"third/1"}
    for client in clients:
        client.writer.close()
    await third.stop(grace_s=1)


async def test_a_request_that_runs_is_the_last_of_its_connection() -> None:
    slow = Slow()
    first = HttpServer(Endpoint(slow.serve))
    await first.start()
    client = await Client.connected(first.port)
    client.ask(b"1")
    await slow.asked.wait()
    other = await Client.connected(first.port)
    await until(lambda: first.connections == 2, "the other to be accepted")
    leaving = asyncio.create_task(left_by(first))
    await until(lambda: first.connections == 1, "it to hand the other over")
    slow.go.set()
    head, body = await client.answer()
    assert b"connection: close" in head
    assert body == b"slow"
    assert await client.ended()
    second = await named(b"second", await leaving)
    assert await other.said(b"2") == b"second/2"
    other.writer.close()
    await second.stop(grace_s=1)


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Clients have as long for their last request as the test takes."""
    monkeypatch.setattr(server, "LAST_REQUEST_S", TIMEOUT_S)


@pytest.mark.usefixtures("patient")
async def test_a_request_whose_head_has_begun_is_the_last() -> None:
    first = await named(b"first")
    client = await Client.connected(first.port)
    whole = REQUEST % b"2"
    half, rest = whole[:10], whole[10:]
    client.writer.write(REQUEST % b"1" + half)
    assert (await client.answer())[1] == b"first/1"
    leaving = asyncio.create_task(left_by(first))
    await asyncio.sleep(0)
    client.writer.write(rest)
    head, body = await client.answer()
    assert b"connection: close" in head
    assert body == b"first/2"
    handed = await leaving
    assert handed.connections == ()
    handed.close()


@pytest.mark.usefixtures("patient")
async def test_of_tls_the_next_answer_is_the_last(tmp_path: Path) -> None:
    pair = certificates.pair("localhost")
    chain = tmp_path / "pair.pem"
    chain.write_text(pair.certificate + pair.private_key)
    serving, trusting = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context(cadata=pair.certificate)
    trusting.check_hostname = False
    serving.load_cert_chain(chain)
    first = HttpServer(Endpoint(harness.whole(b"first")), tls=serving)
    await first.start()
    client = await Client.connected(first.port, trusting)
    assert await client.said(b"1") == b"first"
    leaving = asyncio.create_task(left_by(first))
    head = b""
    while b"connection: close" not in head:
        client.ask(b"2")
        head = (await client.answer())[0]
    handed = await leaving
    assert handed.connections == ()
    handed.close()


class Sockets:
    """Answers websockets, which then say nothing."""

    def __init__(self) -> None:
        self.open = asyncio.Event()

    async def serve_websocket(self, taken: WebSocket) -> None:
        taken.accept(())
        self.open.set()
        with contextlib.suppress(Disconnected):
            await taken.receive()

    async def serve(self, exchange: Exchange) -> None:
        exchange.send_whole(200, (), b"", b"")

    def refuse(self, refusal: Refusal) -> Answer:
        raise AssertionError(refusal.message)


async def test_websockets_are_told_to_connect_again() -> None:
    sockets = Sockets()
    first = HttpServer(sockets)
    await first.start()
    async with websockets.connect(f"ws://127.0.0.1:{first.port}/", open_timeout=TIMEOUT_S) as client:
        await sockets.open.wait()
        handed = await left_by(first)
        with pytest.raises(websockets.ConnectionClosed) as closed:
            await client.recv()
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == SERVICE_RESTART
    handed.close()


@pytest.mark.parametrize("accepts", [True, False])
async def test_a_handshake_that_is_under_way_is_answered_first(accepts: bool) -> None:
    """Its function may just start, and serve others on the same instance."""
    sockets, may_answer = Sockets(), asyncio.Event()
    came = asyncio.Event()

    async def later(taken: WebSocket) -> None:
        came.set()
        await may_answer.wait()
        if accepts:
            await Sockets.serve_websocket(sockets, taken)
        else:
            taken.refuse(Answer(403, (), b"no"))

    sockets.serve_websocket = later  # type: ignore[method-assign]
    first = HttpServer(sockets)
    await first.start()
    asked = asyncio.ensure_future(
        websockets.connect(f"ws://127.0.0.1:{first.port}/", open_timeout=TIMEOUT_S).__aenter__()
    )
    await came.wait()
    stopping = asyncio.ensure_future(first.stop(grace_s=60.0))
    await asyncio.sleep(0)
    assert not stopping.done()
    may_answer.set()
    if accepts:
        client = await asked
        with pytest.raises(websockets.ConnectionClosed) as closed:
            await client.recv()
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == SERVICE_RESTART
    else:
        with pytest.raises(websockets.InvalidStatus, match="403"):
            await asked
    await asyncio.wait_for(stopping, 60.0)


def test_what_nobody_takes_is_closed() -> None:
    reading, writing = os.pipe()
    handover = Handover([Handed("a", reading, (writing,), 0)])
    assert handover.take("b") is None
    handover.close_unused()
    for fd in (reading, writing):
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(fd)


async def test_an_endpoint_that_is_set_otherwise_listens_where_it_did() -> None:
    first = await named(b"first")
    client = await Client.connected(first.port)
    assert await client.said(b"1") == b"first/1"
    handover = Handover([await left_by(first)])
    second = HttpServer(Endpoint(harness.whole(b"second")), port=first.port)
    async with contextlib.AsyncExitStack() as teardown:
        # Not what was handed over as "it": it speaks TLS now, or listens on another address too.
        await serve(second, f"--port {first.port}", Serving(teardown, Patience(1.0), handover))
        assert await client.ended()
        late = await Client.connected(second.port)
        assert await late.said(b"2") == b"second"
        for each in (client, late):
            each.writer.close()


async def test_without_a_descriptor_left_it_is_handed_over_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_fd: int) -> int:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    first = await named(b"first")
    with monkeypatch.context() as patched:
        patched.setattr(os, "dup", fail)
        handed = await left_by(first)
    second = await named(b"second", handed)
    client = await Client.connected(second.port)
    assert await client.said(b"1") == b"second/1"
    client.writer.close()
    await second.stop(grace_s=1)
