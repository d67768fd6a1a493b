"""Clients that end their side of a connection after their requests, as `nc -N` does: they may wait, or have gone."""

import asyncio
import contextlib

import pytest
from tests.http.harness import TIMEOUT_S, serving

from sesame.http import half_closed
from sesame.http.interface import Disconnected, Exchange
from sesame.http.limits import Limits

FIRST = b"POST /first HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nab"
SECOND = b"GET /second HTTP/1.1\r\nHost: x\r\n\r\n"
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
SOON = Limits(half_closed_s=0.05)


class Answers:
    """An endpoint that answers each request with its path once `may` is set; `left` is set when a client has gone."""

    def __init__(self) -> None:
        self.begun, self.may, self.left = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def serve(self, exchange: Exchange) -> None:
        exchange.on_disconnect(self.left.set)
        await exchange.read_body(100)
        self.begun.set()
        await self.may.wait()
        exchange.send_whole(200, (), b"", exchange.request.raw_path)


async def test_a_call_that_takes_long_is_answered() -> None:
    answers = Answers()
    async with serving(answers.serve, SOON) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(FIRST)
        writer.write_eof()
        async with asyncio.timeout(TIMEOUT_S):
            # Twice: the client is asked again and again.
            assert await reader.readexactly(2 * len(CONTINUE)) == 2 * CONTINUE
            answers.may.set()
            rest = await reader.read()
        answer = rest.replace(CONTINUE, b"")
        assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
        assert b"\r\nConnection: close\r\n" in answer
        assert answer.endswith(b"\r\n\r\n/first")
        assert not answers.left.is_set()
        writer.close()


async def test_an_answer_that_comes_soon_comes_alone() -> None:
    answers = Answers()
    async with serving(answers.serve) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(FIRST)
        writer.write_eof()
        await asyncio.wait_for(answers.begun.wait(), TIMEOUT_S)
        answers.may.set()
        assert (await asyncio.wait_for(reader.read(), TIMEOUT_S)).startswith(b"HTTP/1.1 200 OK\r\n")
        writer.close()


@pytest.mark.parametrize("behind", [b"", b"GET /cut", b"POST /cut HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nab"])
async def test_all_requests_that_came_whole_are_answered_in_order(behind: bytes) -> None:
    answers = Answers()
    async with serving(answers.serve) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(FIRST + SECOND * 3 + behind)
        writer.write_eof()
        await asyncio.wait_for(answers.begun.wait(), TIMEOUT_S)
        answers.may.set()
        raw = await asyncio.wait_for(reader.read(), TIMEOUT_S)
        paths = [each.partition(b"\r\n\r\n")[2] for each in raw.split(b"HTTP/1.1 200 OK\r\n")[1:]]
        assert paths == [b"/first", b"/second", b"/second", b"/second"]
        writer.close()


async def test_what_is_refused_behind_them_is_told_too() -> None:
    answers = Answers()
    async with serving(answers.serve) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(FIRST + b"nonsense\r\n\r\n")
        writer.write_eof()
        await asyncio.wait_for(answers.begun.wait(), TIMEOUT_S)
        answers.may.set()
        raw = await asyncio.wait_for(reader.read(), TIMEOUT_S)
        assert b"\r\n\r\n/firstHTTP/1.1 400 " in raw
        writer.close()


async def test_a_stream_goes_on_while_it_is_taken() -> None:
    ended = asyncio.Event()

    async def stream(exchange: Exchange) -> None:
        exchange.begin(200, ())
        await exchange.send(b"begun.")
        await ended.wait()
        for _ in range(100):
            await asyncio.sleep(0.002)
            await exchange.send(b"more.")
        await exchange.send(b"", last=True)

    async with serving(stream, SOON) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(SECOND)
        async with asyncio.timeout(TIMEOUT_S):
            head = await reader.readuntil(b"begun.\r\n")
            writer.write_eof()
            ended.set()
            rest = await reader.read()
        assert b"100 Continue" not in head + rest
        assert rest.count(b"more.") == 100
        assert rest.endswith(b"0\r\n\r\n")
        writer.close()


@pytest.mark.parametrize("request_bytes", [SECOND, b"GET / HTTP/1.0\r\n\r\n"], ids=["HTTP/1.1", "HTTP/1.0"])
async def test_who_has_gone_is_noticed(request_bytes: bytes) -> None:
    answers = Answers()
    async with serving(answers.serve, SOON) as server:
        _reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(request_bytes)
        await asyncio.wait_for(answers.begun.wait(), TIMEOUT_S)
        writer.close()
        await asyncio.wait_for(answers.left.wait(), TIMEOUT_S)


async def test_who_has_gone_in_the_midst_of_an_answer_is_noticed_though_nothing_more_is_sent() -> None:
    left = asyncio.Event()

    async def stream(exchange: Exchange) -> None:
        exchange.on_disconnect(left.set)
        exchange.begin(200, ())
        with contextlib.suppress(Disconnected):
            await exchange.send(b"begun.")
            await left.wait()

    async with serving(stream, SOON) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(SECOND)
        await asyncio.wait_for(reader.readuntil(b"begun.\r\n"), TIMEOUT_S)
        writer.close()
        await asyncio.wait_for(left.wait(), TIMEOUT_S)


async def stream_of_two_chunks(exchange: Exchange, more: asyncio.Event, left: asyncio.Event) -> None:
    exchange.on_disconnect(left.set)
    exchange.begin(200, ())
    with contextlib.suppress(Disconnected):
        await exchange.send(b"begun.")
        await more.wait()
        await exchange.send(b"more.", last=True)


@pytest.mark.parametrize("goes", [True, False])
async def test_who_has_gone_in_the_midst_of_chunks_is_told_from_who_waits(
    goes: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The one is noticed long before the other would count as gone."""
    monkeypatch.setattr(half_closed, "LOOKS_EVERY_S", 0.01)
    more, left = asyncio.Event(), asyncio.Event()
    async with serving(
        lambda exchange: stream_of_two_chunks(exchange, more, left), Limits(half_closed_s=60.0 if goes else 0.03)
    ) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(SECOND)
        async with asyncio.timeout(TIMEOUT_S):
            await reader.readuntil(b"begun.\r\n")
            if goes:
                writer.close()
                await left.wait()
                return
            writer.write_eof()
            zeros = await reader.readexactly(3)
            more.set()
            rest = zeros + await reader.read()
        size, chunk, end = rest.split(b"\r\n", 2)
        assert (zeros, int(size, 16), chunk, int(end.partition(b"\r")[0], 16)) == (b"000", 5, b"more.", 0)
        assert not left.is_set()
        writer.close()


async def test_who_waits_in_the_midst_of_chunks_gets_few_zeros(monkeypatch: pytest.MonkeyPatch) -> None:
    """Clients accept sizes of some digits; after that, a silent answer ends as any that cannot be probed."""
    monkeypatch.setattr(half_closed, "LOOKS_EVERY_S", 0.005)
    more, left = asyncio.Event(), asyncio.Event()
    async with serving(
        lambda exchange: stream_of_two_chunks(exchange, more, left), Limits(half_closed_s=0.01)
    ) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(SECOND)
        async with asyncio.timeout(TIMEOUT_S):
            await reader.readuntil(b"begun.\r\n")
            writer.write_eof()
            with contextlib.suppress(ConnectionResetError):
                assert await reader.read() == b"0" * half_closed.ZEROS_MAX
            await left.wait()
        writer.close()


async def test_a_refusal_of_who_sends_nothing_more_ends_the_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    """At once: there is nothing to drop."""
    monkeypatch.setattr(half_closed, "LOOKS_EVERY_S", TIMEOUT_S)
    answers = Answers()
    async with serving(answers.serve, Limits(half_closed_s=TIMEOUT_S)) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(FIRST + b"nonsense\r\n\r\n")
        writer.write_eof()
        await asyncio.wait_for(answers.begun.wait(), TIMEOUT_S)
        answers.may.set()
        assert b"HTTP/1.1 400 " in await asyncio.wait_for(reader.read(), TIMEOUT_S)
        async with asyncio.timeout(2.0):
            while server.connections:  # noqa: ASYNC110 - nothing tells the end of a connection
                await asyncio.sleep(0.005)
        writer.close()


async def test_http_1_0_has_no_interim_answer() -> None:
    answers = Answers()
    async with serving(answers.serve) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(b"GET /old HTTP/1.0\r\n\r\n")
        writer.write_eof()
        await asyncio.wait_for(answers.begun.wait(), TIMEOUT_S)
        asyncio.get_running_loop().call_later(1.3, answers.may.set)
        raw = await asyncio.wait_for(reader.read(), TIMEOUT_S)
        assert raw.startswith(b"HTTP/1.1 200 OK\r\n")
        assert raw.endswith(b"\r\n\r\n/old")
        writer.close()
