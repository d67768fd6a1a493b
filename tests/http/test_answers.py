"""One connection on a real socket: framing of answers, what an endpoint may not do, the order of answers."""

import asyncio
import gc

import pytest
from tests.http.harness import GET, TIMEOUT_S, all_of, answering, echo, serving, told, until, whole

from sesame.http.exchange import JOIN_BYTES
from sesame.http.interface import Disconnected, Exchange, Headers
from sesame.http.request import Request

HEAD = GET.replace(b"GET", b"HEAD")


@pytest.mark.parametrize("size", [0, 5, JOIN_BYTES + 1])
async def test_an_answer_with_a_length(size: int) -> None:
    body = b"b" * size
    raw = await all_of(answering([body], [(b"X-Mine", b"v"), (b"Content-Length", b"%d" % size)]), GET)
    head = b"HTTP/1.1 200 OK\r\nX-Mine: v\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % size
    assert raw == head + body


async def test_an_answer_without_a_length_comes_in_chunks() -> None:
    raw = await all_of(answering([b"ab", b"", b"cde"], [(b"x-Odd-CASE", b"kept")]), GET)
    head, body = raw.split(b"\r\n\r\n", 1)
    assert b"\r\nx-Odd-CASE: kept\r\n" in head + b"\r\n"
    assert b"Transfer-Encoding: chunked" in head
    assert body == b"2\r\nab\r\n3\r\ncde\r\n0\r\n\r\n"


async def test_an_answer_in_pieces_of_a_known_length() -> None:
    raw = await all_of(answering([b"ab", b"cd", b""], [(b"content-length", b"4")]), GET)
    assert raw.endswith(b"\r\n\r\nabcd")
    assert b"chunked" not in raw


async def test_a_client_of_http_1_0_gets_no_chunks() -> None:
    raw = await all_of(answering([b"ab", b"cd"], []), b"GET / HTTP/1.0\r\n\r\n")
    assert b"chunked" not in raw.lower()
    assert b"\r\nConnection: close\r\n" in raw
    assert raw.endswith(b"\r\n\r\nabcd")


@pytest.mark.parametrize(("method", "status"), [(b"HEAD", 200), (b"GET", 204), (b"GET", 304)])
async def test_answers_that_have_no_body(method: bytes, status: int) -> None:
    headers = [(b"Content-Length", b"7")] if status != 204 else []
    raw = await all_of(answering([b"unsaid!"], headers, status), GET.replace(b"GET", method))
    assert raw.startswith(b"HTTP/1.1 %d " % status)
    assert raw.endswith(b"\r\n\r\n")
    assert b"chunked" not in raw
    assert (b"Content-Length: 7" in raw) == (status != 204)


@pytest.mark.parametrize("length", [b"0", b"7"])
async def test_an_answer_204_says_no_length(length: bytes) -> None:
    raw = await all_of(answering([b""], [(b"Content-Length", length)], 204), GET)
    assert raw == b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n"


@pytest.mark.parametrize(
    "header", [(b"X", b"a\r\nSet-Cookie: b"), (b"X", b"a\nb"), (b"X", b"\0"), (b"X: y\r\nZ", b"v")]
)
async def test_headers_cannot_be_smuggled(header: tuple[bytes, bytes]) -> None:
    keep_alive = GET.replace(b"close", b"keep-alive")
    for serve in (answering([b""], [(b"Content-Length", b"0"), header]), whole(b"", headers=(header,))):
        raw = await all_of(serve, keep_alive)
        assert raw.startswith(b"HTTP/1.1 500 ")
        assert b"Set-Cookie" not in raw


@pytest.mark.parametrize(
    "headers",
    [
        [(b"Content-Length", b"1"), (b"content-length", b"1")],
        [(b"Content-Length", b"1"), (b"Transfer-Encoding", b"chunked")],
        [(b"Content-Length", b"+1")],
        [(b"Transfer-Encoding", b"gzip")],
    ],
)
async def test_framing_that_contradicts_itself_is_not_sent(headers: list[tuple[bytes, bytes]]) -> None:
    assert (await all_of(answering([b"a"], headers), GET)).startswith(b"HTTP/1.1 500 ")


@pytest.mark.parametrize("length", [b"1", b"9"])
async def test_an_answer_of_another_length_than_it_says_is_broken_off(length: bytes) -> None:
    raw = await all_of(answering([b"abc"], [(b"Content-Length", length)]), GET)
    assert not raw.endswith(b"abc") or b"Content-Length: 9" in raw


async def test_the_request_says_what_was_asked() -> None:
    seen: list[Request] = []

    async def serve(exchange: Exchange) -> None:
        seen.append(exchange.request)
        exchange.send_whole(200, (), b"", b"")

    await all_of(serve, GET)
    await all_of(serve, GET.replace(b"/a%20b?x=1", b"http://host/p%2Fq?r#s").replace(b"HTTP/1.1", b"HTTP/1.0"))
    first, second = seen
    assert (first.method, first.path, first.raw_path) == ("GET", "/a b", b"/a%20b")
    assert (first.query, first.http_version, first.scheme) == (b"x=1", "1.1", "http")
    assert first.headers[0] == (b"host", b"x")
    assert first.client[0] == "127.0.0.1"
    assert (second.path, second.raw_path, second.http_version) == ("/p/q", b"/p%2Fq", "1.0")
    assert second.query == b"r"


async def test_a_client_that_expects_100_is_told_when_the_body_is_read() -> None:
    async with serving(echo) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(b"POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n")
        assert await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 30) == b"HTTP/1.1 100 Continue\r\n\r\n"
        writer.write(b"hi")
        assert b" 200 OK" in await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 30)
        assert await asyncio.wait_for(reader.readexactly(4), 30) == b"/ hi"
        writer.close()


async def test_an_answer_that_waits_for_others_is_not_lost_when_the_server_stops() -> None:
    stopping: list[asyncio.Task[None]] = []
    fast_may_go = asyncio.Event()

    async def serve(exchange: Exchange) -> None:
        if exchange.request.path == "/slow":
            under_way.append(exchange)
            if len(under_way) == 4:
                all_came.set()
            await asyncio.Event().wait()
        await fast_may_go.wait()
        exchange.send_whole(200, (), b"", b"fast")
        stopping.append(asyncio.create_task(server.stop(grace_s=0.01)))

    under_way: list[Exchange] = []
    all_came = asyncio.Event()
    async with serving(serve) as server:
        connections = [await asyncio.open_connection("127.0.0.1", server.port) for _ in range(5)]
        for number, (_reader, writer) in enumerate(connections):
            writer.write(b"GET /%b HTTP/1.1\r\nHost: x\r\n\r\n" % (b"fast" if number == 4 else b"slow"))
        async with asyncio.timeout(30):
            await all_came.wait()
            fast_may_go.set()
            assert (await connections[4][0].read()).endswith(b"fast")
            await stopping[0]
        for _reader, writer in connections:
            writer.close()


async def test_the_grace_of_a_stop_ends_when_somebody_hurries() -> None:
    came, ended = asyncio.Event(), asyncio.Event()

    async def serve(_exchange: Exchange) -> None:
        came.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    async with serving(serve) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(GET)
        async with asyncio.timeout(30):
            await came.wait()
            stopping = asyncio.create_task(server.stop(grace_s=3600.0))
            await asyncio.sleep(0)
            assert not stopping.done()
            server.hurry()
            await stopping
            assert ended.is_set()
            await reader.read()
        writer.close()


@pytest.mark.parametrize("size", [0, 5, JOIN_BYTES + 1])
async def test_a_whole_answer_says_its_length(size: int) -> None:
    body = b"b" * size
    raw = await all_of(whole(body), GET)
    lines = b"X-B: 2\r\nX-A: 1\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % size
    assert raw == b"HTTP/1.1 200 OK\r\n" + lines + body


async def test_a_whole_answer_to_a_question_for_the_head() -> None:
    raw = await all_of(whole(b"four"), HEAD)
    assert b"\r\nContent-Length: 4\r\n" in raw
    assert raw.endswith(b"\r\n\r\n")


async def test_an_endpoint_may_say_the_length_that_the_body_of_get_would_have() -> None:
    raw = await all_of(whole(b"", headers=((b"content-length", b"5"),)), HEAD)
    assert raw.lower().count(b"content-length") == 1
    assert b"\r\ncontent-length: 5\r\n" in raw


@pytest.mark.parametrize("status", [204, 304])
async def test_a_whole_answer_that_has_no_body(status: int) -> None:
    raw = await all_of(whole(b"unsaid", status), GET)
    assert raw.endswith(b"\r\n\r\n")
    assert b"Content-Length" not in raw
    assert b"chunked" not in raw


async def breaks(_exchange: Exchange) -> None:
    raise ValueError("inside")


async def says_nothing(_exchange: Exchange) -> None:
    return


@pytest.mark.parametrize("serve", [breaks, says_nothing])
async def test_an_endpoint_that_does_not_answer_ends_the_connection(serve: object) -> None:
    raw = await all_of(serve, GET.replace(b"close", b"keep-alive"))  # type: ignore[arg-type]
    assert raw.startswith(b"HTTP/1.1 500 Internal Server Error\r\n")
    assert b"\r\nConnection: close\r\n" in raw
    assert raw.endswith(b"\r\n\r\nInternal Server Error")
    assert b"inside" not in raw


async def test_an_answer_that_breaks_in_its_middle_is_seen_to_be_broken() -> None:
    async def serve(exchange: Exchange) -> None:
        exchange.begin(200, ())
        await exchange.send(b"half")
        raise ValueError("inside")

    raw = await all_of(serve, GET)
    assert raw.endswith(b"4\r\nhalf\r\n")


async def test_a_body_comes_whole_however_large_it_is() -> None:
    async def measure(exchange: Exchange) -> None:
        size = 0
        while piece := await exchange.receive():
            size += len(piece)
            await asyncio.sleep(0)
        exchange.send_whole(200, (), b"", b"%d" % size)

    size = 3_000_000
    head = b"POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % size
    assert (await all_of(measure, head + bytes(size))).endswith(b"\r\n\r\n3000000")


async def test_a_client_that_hangs_up_cancels_what_asked_for_it_and_nothing_else() -> None:
    begun, ended = asyncio.Event(), asyncio.Event()
    seen: list[str] = []

    async def waits(exchange: Exchange) -> None:
        begun.set()
        try:
            if exchange.request.path == "/watched":
                exchange.on_disconnect(exchange.cancel)
                await asyncio.Event().wait()
            else:
                assert await exchange.receive() == b""
                await exchange.gone()
                seen.append("told")
        except asyncio.CancelledError:
            seen.append("cancelled")
            assert exchange.uncancel()
            assert not exchange.uncancel()
        ended.set()

    async with serving(waits) as server:
        # The one behind waits for its turn, and must not be the only one that is told.
        for path, behind in (("watched", b""), ("other", b"GET /behind HTTP/1.1\r\nHost: x\r\n\r\n")):
            begun.clear()
            ended.clear()
            _reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            writer.write(b"GET /%b HTTP/1.1\r\nHost: x\r\n\r\n" % path.encode() + behind)
            await asyncio.wait_for(begun.wait(), 30)
            writer.transport.abort()
            await asyncio.wait_for(ended.wait(), 30)
    assert seen == ["cancelled", "told"]


async def test_a_body_that_stays_unread_does_not_hide_that_the_client_has_gone() -> None:
    begun, ended = asyncio.Event(), asyncio.Event()

    async def waits(exchange: Exchange) -> None:
        begun.set()
        await exchange.gone()
        ended.set()

    async with serving(waits) as server:
        _reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4000000\r\n\r\n" + bytes(3_000_000))
        await asyncio.wait_for(begun.wait(), 30)
        writer.transport.abort()
        await asyncio.wait_for(ended.wait(), 30)


async def test_what_fails_after_its_answer_does_no_harm_to_the_next() -> None:
    async def breaks_late(exchange: Exchange) -> None:
        exchange.send_whole(200, (), b"", exchange.request.raw_path)
        await asyncio.sleep(0)
        raise ValueError("too late")

    next_one = GET.replace(b"/a%20b?x=1", b"/second")
    raw = await all_of(breaks_late, b"GET /first HTTP/1.1\r\nHost: x\r\n\r\n" + next_one)
    assert raw.count(b"HTTP/1.1 200 OK") == 2
    assert raw.endswith(b"\r\n\r\n/second")


async def test_a_client_that_closes_its_side_is_answered_although_others_wait() -> None:
    async def serve(exchange: Exchange) -> None:
        if exchange.request.path == "/wait":
            await exchange.gone()
            return
        exchange.send_whole(200, (), b"", b"ok")

    async with serving(serve) as server:
        others = [await asyncio.open_connection("127.0.0.1", server.port) for _ in range(20)]
        for _reader, writer in others:
            writer.write(b"GET /wait HTTP/1.1\r\nHost: x\r\n\r\n")
        for _ in range(20):
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            writer.write_eof()
            assert (await asyncio.wait_for(reader.read(), 30)).endswith(b"\r\n\r\nok")
            writer.close()
        for _reader, writer in others:
            writer.close()


@pytest.mark.parametrize("count", [50, 5000])
async def test_many_requests_at_once_are_answered_in_order(count: int) -> None:
    async def serve(exchange: Exchange) -> None:
        if count < 100:
            await asyncio.sleep(0.001)
        await echo(exchange)

    requests = [b"POST /%d HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n-%d" % (n, n % 10) for n in range(count)]
    raw = await all_of(serve, b"".join(requests) + GET)
    assert [part.split(b"HTTP/1.1")[0] for part in raw.split(b"\r\n\r\n")[1:-1]] == [
        b"/%d -%d" % (n, n % 10) for n in range(count)
    ]


async def test_few_of_many_requests_at_once_are_under_way() -> None:
    """However small they are: the rest stays bytes."""
    alive: list[int] = []

    async def serve(exchange: Exchange) -> None:
        if not alive:
            alive.append(sum(type(each) is type(exchange) for each in gc.get_objects()))
        exchange.send_whole(200, (), b"", b"")

    raw = await all_of(serve, b"GET / HTTP/1.1\r\nHost:\r\n\r\n" * 2000 + GET)
    assert raw.count(b"HTTP/1.1 200 OK") == 2001
    assert 1 < alive[0] < 300


async def test_a_receive_that_was_given_up_does_not_keep_the_next_from_hearing() -> None:
    heard = asyncio.Event()

    async def serve(exchange: Exchange) -> None:
        given_up = asyncio.ensure_future(exchange.receive())
        await asyncio.sleep(0)
        given_up.cancel()
        with pytest.raises(Disconnected):
            await exchange.receive()
        heard.set()

    async with serving(serve) as server:
        _reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\n")
        await asyncio.sleep(0.05)
        writer.transport.abort()
        await asyncio.wait_for(heard.wait(), 30)


async def test_an_answer_before_the_body_ends_the_connection_and_reaches_a_client_that_goes_on_sending() -> None:
    async def serve(exchange: Exchange) -> None:
        exchange.send_whole(429, (), b"", b"later")

    async with serving(serve) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        size = 8 * 1024 * 1024
        writer.write(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % size)
        for _ in range(size // 65536):
            writer.write(bytes(65536))
            await asyncio.wait_for(writer.drain(), TIMEOUT_S)
        raw = await asyncio.wait_for(reader.read(), TIMEOUT_S)
        assert raw.startswith(b"HTTP/1.1 429 ")
        assert b"\r\nConnection: close\r\n" in raw
        writer.close()


async def test_a_small_rest_of_a_body_is_skipped() -> None:
    async def serve(exchange: Exchange) -> None:
        exchange.send_whole(200, (), b"", exchange.request.raw_path)

    async with serving(serve) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(b"POST /one HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n12345")
        await asyncio.wait_for(reader.readuntil(b"/one"), TIMEOUT_S)
        writer.write(b"67890" + GET.replace(b"/a%20b?x=1", b"/two"))
        assert (await asyncio.wait_for(reader.read(), TIMEOUT_S)).endswith(b"/two")
        writer.close()


async def test_a_client_that_waits_for_100_and_gets_an_answer_sends_no_second_request_there() -> None:
    """What comes next on such a connection, a body or a request, cannot be told apart."""
    async with serving(whole(b"no", 403)) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(b"POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n")
        assert b" 403 " in await asyncio.wait_for(reader.readline(), TIMEOUT_S)
        writer.write(GET)
        raw = await asyncio.wait_for(reader.read(), TIMEOUT_S)
        writer.close()
    assert b"100 Continue" not in raw
    assert b"\r\nConnection: close\r\n" in raw
    assert b"HTTP/1.1" not in raw


async def test_a_slow_reader_gets_the_whole_answer_and_holds_up_the_next() -> None:
    started: list[str] = []

    async def serve(exchange: Exchange) -> None:
        started.append(exchange.request.path)
        exchange.send_whole(200, (), b"", bytes(20_000_000))

    async with serving(serve) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(b"GET /1 HTTP/1.1\r\nHost: x\r\n\r\n" + GET.replace(b"/a%20b?x=1", b"/2"))
        await until(lambda: bool(started), "the first request")
        await asyncio.sleep(0.2)
        assert started == ["/1"]
        raw = await asyncio.wait_for(reader.read(), 30)
        assert len(raw) > 40_000_000
        assert started == ["/1", "/2"]
        writer.close()


async def test_what_an_endpoint_sends_in_pieces_waits_for_the_client() -> None:
    sent = 0

    async def serve(exchange: Exchange) -> None:
        nonlocal sent
        exchange.begin(200, ())
        for _ in range(1000):
            await exchange.send(bytes(65536))
            sent += 65536
        await exchange.send(b"", last=True)

    async with serving(serve) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(GET)
        await asyncio.sleep(0.3)
        assert sent < 32_000_000
        assert len(await asyncio.wait_for(reader.read(), 30)) > 65_536_000
        writer.close()


async def test_a_client_that_leaves_in_the_middle_of_an_answer_ends_its_sending() -> None:
    ended = asyncio.Event()

    async def serve(exchange: Exchange) -> None:
        exchange.begin(200, ())
        try:
            while True:
                await exchange.send(bytes(65536))
        except Disconnected:
            ended.set()
            raise

    async with serving(serve) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(GET)
        await asyncio.wait_for(reader.readexactly(1000), TIMEOUT_S)
        writer.transport.abort()
        await asyncio.wait_for(ended.wait(), TIMEOUT_S)


NO_HEADERS: Headers = ()


async def test_two_answers_to_one_request_are_an_error_of_the_endpoint() -> None:
    caught: list[RuntimeError] = []

    async def serve(exchange: Exchange) -> None:
        exchange.send_whole(200, NO_HEADERS, b"", b"one")
        for again in (
            lambda: exchange.send_whole(200, NO_HEADERS, b"", b"two"),
            lambda: exchange.begin(200, NO_HEADERS),
        ):
            with pytest.raises(RuntimeError) as error:
                again()
            caught.append(error.value)

    async with serving(serve) as server:
        raw = await told(server, GET)
    assert raw.endswith(b"\r\n\r\none")
    assert len(caught) == 2
