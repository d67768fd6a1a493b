"""One connection on a real socket: framing of answers, what an application may not do, idle connections."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from sesame.fc import server as server_module
from sesame.fc.http_exchange import HANG_UP, JOIN_BYTES
from sesame.fc.server import HttpServer

Pieces = list[bytes]
Headers = list[tuple[bytes, bytes]]


def answering(pieces: Pieces, headers: Headers, status: int = 200) -> Callable[..., Any]:
    async def app(_scope: Any, _receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": status, "headers": headers})
        for piece in pieces[:-1]:
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": pieces[-1]})

    return app


@asynccontextmanager
async def serving(app: Any) -> AsyncIterator[HttpServer]:
    server = HttpServer(app)
    await server.start()
    try:
        yield server
    finally:
        await server.stop(grace_s=0.1)


async def all_of(app: Any, request: bytes) -> bytes:
    """Everything that comes back until the server closes; the request asks it to."""
    async with serving(app) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(request)
        got = await asyncio.wait_for(reader.read(), 5)
        writer.close()
    return got


GET = b"GET /a%20b?x=1 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"


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


@pytest.mark.parametrize(("method", "status"), [(b"HEAD", 200), (b"GET", 204), (b"GET", 304)])
async def test_answers_that_have_no_body(method: bytes, status: int) -> None:
    headers = [(b"Content-Length", b"7")] if method == b"HEAD" else []
    pieces = [b"unsaid!"] if method == b"HEAD" else [b""]
    raw = await all_of(answering(pieces, headers, status), GET.replace(b"GET", method))
    assert raw.startswith(b"HTTP/1.1 %d " % status)
    assert raw.endswith(b"\r\n\r\n")
    assert b"chunked" not in raw
    assert (b"Content-Length: 7" in raw) == (method == b"HEAD")


@pytest.mark.parametrize(
    "header", [(b"X", b"a\r\nSet-Cookie: b"), (b"X", b"a\nb"), (b"X", b"\0"), (b"X: y\r\nZ", b"v")]
)
async def test_headers_cannot_be_smuggled(header: tuple[bytes, bytes]) -> None:
    raw = await all_of(answering([b""], [(b"Content-Length", b"5"), header]), GET.replace(b"close", b"keep-alive"))
    assert raw.startswith(b"HTTP/1.1 500 ")
    assert b"Set-Cookie" not in raw


@pytest.mark.parametrize("length", [b"1", b"9"])
async def test_an_answer_of_another_length_than_it_says_is_broken_off(length: bytes) -> None:
    raw = await all_of(answering([b"abc"], [(b"Content-Length", length)]), GET)
    assert not raw.endswith(b"abc") or b"Content-Length: 9" in raw


async def test_the_scope_says_what_was_asked() -> None:
    scopes: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        scopes.append(scope)
        await answering([b""], [])(scope, receive, send)

    await all_of(app, GET)
    await all_of(app, GET.replace(b"/a%20b?x=1", b"http://host/p%2Fq?r#s").replace(b"HTTP/1.1", b"HTTP/1.0"))
    first, second = scopes
    assert (first["method"], first["path"], first["raw_path"]) == ("GET", "/a b", b"/a%20b")
    assert (first["query_string"], first["http_version"], first["scheme"]) == (b"x=1", "1.1", "http")
    assert first["headers"][0] == (b"host", b"x")
    assert (second["path"], second["raw_path"], second["http_version"]) == ("/p/q", b"/p%2Fq", "1.0")
    assert second["query_string"] == b"r"


async def test_who_expects_to_be_told_to_go_on_is_told() -> None:
    async def echo(scope: Any, receive: Any, send: Any) -> None:
        body = (await receive())["body"]
        await answering([body], [])(scope, receive, send)

    async with serving(echo) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(b"POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n")
        assert await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5) == b"HTTP/1.1 100 Continue\r\n\r\n"
        writer.write(b"hi")
        assert b" 200 OK" in await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5)
        assert await asyncio.wait_for(reader.readuntil(b"0\r\n\r\n"), 5) == b"2\r\nhi\r\n0\r\n\r\n"
        writer.close()


async def test_only_idle_connections_are_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_module, "KEEP_ALIVE_S", 0.05)
    go_on = asyncio.Event()

    async def slow(scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] == "/slow":
            await go_on.wait()
        await answering([b"ok"], [(b"Content-Length", b"2")])(scope, receive, send)

    async with serving(slow) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\nGET /slow HTTP/1.1\r\nHost: x\r\n\r\n")
        await asyncio.wait_for(reader.readuntil(b"ok"), 5)
        idle = asyncio.ensure_future(reader.read())
        done, _ = await asyncio.wait({idle}, timeout=0.2)
        assert not done
        go_on.set()
        assert (await asyncio.wait_for(idle, 5)).endswith(b"ok")
        writer.close()


async def test_an_answer_that_waits_for_others_is_not_lost_when_the_server_stops() -> None:
    stopping: list[asyncio.Task[None]] = []
    fast_may_go = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] == "/slow":
            under_way.append(scope)
            if len(under_way) == 4:
                all_came.set()
            await asyncio.Event().wait()
        await fast_may_go.wait()
        await answering([b"fast"], [(b"Content-Length", b"4")])(scope, receive, send)
        stopping.append(asyncio.create_task(server.stop(grace_s=0.01)))

    under_way: list[Any] = []
    all_came = asyncio.Event()
    server = HttpServer(app)
    await server.start()
    connections = [await asyncio.open_connection("127.0.0.1", server.port) for _ in range(5)]
    for number, (_reader, writer) in enumerate(connections):
        writer.write(b"GET /%b HTTP/1.1\r\nHost: x\r\n\r\n" % (b"fast" if number == 4 else b"slow"))
    async with asyncio.timeout(5):
        await all_came.wait()
        fast_may_go.set()
        assert (await connections[4][0].read()).endswith(b"fast")
        await stopping[0]
    for _reader, writer in connections:
        writer.close()


def whole(body: bytes, status: int = 200) -> Callable[..., Any]:
    async def app(_scope: Any, _receive: Any, send: Any) -> None:
        start = {"type": "http.response.start", "status": status, "headers": [(b"X-A", b"1")], "lines": b"X-B: 2\r\n"}
        await send({**start, "body": body})

    return app


@pytest.mark.parametrize("size", [0, 5, JOIN_BYTES + 1])
async def test_a_whole_answer_says_its_length(size: int) -> None:
    body = b"b" * size
    raw = await all_of(whole(body), GET)
    lines = b"X-B: 2\r\nX-A: 1\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % size
    assert raw == b"HTTP/1.1 200 OK\r\n" + lines + body


async def test_a_whole_answer_to_a_question_for_the_head() -> None:
    raw = await all_of(whole(b"four"), GET.replace(b"GET", b"HEAD"))
    assert b"\r\nContent-Length: 4\r\n" in raw
    assert raw.endswith(b"\r\n\r\n")


async def test_a_whole_answer_that_has_no_body() -> None:
    raw = await all_of(whole(b"", 204), GET)
    assert raw.endswith(b"\r\n\r\n")
    assert b"Content-Length" not in raw
    assert b"chunked" not in raw


async def breaks(_scope: Any, _receive: Any, _send: Any) -> None:
    raise ValueError("inside")


async def says_nothing(_scope: Any, _receive: Any, _send: Any) -> None:
    return


@pytest.mark.parametrize("app", [breaks, says_nothing])
async def test_an_application_that_does_not_answer_ends_the_connection(app: Any) -> None:
    raw = await all_of(app, GET.replace(b"close", b"keep-alive"))
    assert raw.startswith(b"HTTP/1.1 500 Internal Server Error\r\n")
    assert b"\r\nConnection: close\r\n" in raw
    assert raw.endswith(b"\r\n\r\nInternal Server Error")
    assert b"inside" not in raw


async def test_a_body_comes_whole_however_large_it_is() -> None:
    async def measure(scope: Any, receive: Any, send: Any) -> None:
        size, more = 0, True
        while more:
            message = await receive()
            size, more = size + len(message["body"]), message["more_body"]
            await asyncio.sleep(0)
        await answering([b"%d" % size], [])(scope, receive, send)

    size = 3_000_000
    raw = await all_of(
        measure, b"POST / HTTP/1.1\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % size + bytes(size)
    )
    assert b"\r\n3000000\r\n" in raw


async def test_who_hangs_up_cancels_what_is_watched_and_nothing_else() -> None:
    begun, ended = asyncio.Event(), asyncio.Event()
    seen: list[str] = []

    async def waits(scope: Any, receive: Any, _send: Any) -> None:
        hang_up = scope[HANG_UP]
        begun.set()
        try:
            if scope["path"] == "/watched":
                hang_up.watch()
                await asyncio.Event().wait()
            else:
                assert (await receive())["type"] == "http.request"
                assert (await receive())["type"] == "http.disconnect"
                seen.append("told")
        except asyncio.CancelledError:
            seen.append("cancelled")
            assert hang_up.unwatch()
            assert not hang_up.unwatch()
        ended.set()

    async with serving(waits) as server:
        # The one behind waits for its turn, and must not be the only one that is told.
        for path, behind in (("watched", b""), ("other", b"GET /behind HTTP/1.1\r\n\r\n")):
            begun.clear()
            ended.clear()
            _reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            writer.write(b"GET /%b HTTP/1.1\r\n\r\n" % path.encode() + behind)
            await asyncio.wait_for(begun.wait(), 5)
            writer.transport.abort()
            await asyncio.wait_for(ended.wait(), 5)
    assert seen == ["cancelled", "told"]


async def test_what_breaks_after_its_answer_does_no_harm_to_the_next() -> None:
    async def breaks_late(scope: Any, receive: Any, send: Any) -> None:
        await whole(scope["path"].encode())(scope, receive, send)
        await asyncio.sleep(0)
        raise ValueError("too late")

    next_one = GET.replace(b"/a%20b?x=1", b"/second")
    raw = await all_of(breaks_late, b"GET /first HTTP/1.1\r\nHost: x\r\n\r\n" + next_one)
    assert raw.count(b"HTTP/1.1 200 OK") == 2
    assert raw.endswith(b"\r\n\r\n/second")


async def test_who_has_nothing_more_to_say_is_answered_although_others_wait() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] == "/wait":
            assert (await receive())["type"] == "http.request"
            await receive()
        await whole(b"ok")(scope, receive, send)

    async with serving(app) as server:
        others = [await asyncio.open_connection("127.0.0.1", server.port) for _ in range(20)]
        for _reader, writer in others:
            writer.write(b"GET /wait HTTP/1.1\r\n\r\n")
        for _ in range(20):
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            writer.write(b"GET / HTTP/1.1\r\n\r\n")
            writer.write_eof()
            assert (await asyncio.wait_for(reader.read(), 5)).endswith(b"\r\n\r\nok")
            writer.close()
        for _reader, writer in others:
            writer.close()


async def test_many_requests_at_once_are_answered_in_order() -> None:
    async def echo(scope: Any, receive: Any, send: Any) -> None:
        await asyncio.sleep(0.001)
        body = (await receive())["body"]
        await whole(scope["path"].encode() + body)(scope, receive, send)

    requests = [b"POST /%d HTTP/1.1\r\nContent-Length: 2\r\n\r\n-%d" % (n, n % 10) for n in range(50)]
    raw = await all_of(echo, b"".join(requests) + GET)
    assert [part.split(b"HTTP/1.1")[0] for part in raw.split(b"\r\n\r\n")[1:-1]] == [
        b"/%d-%d" % (n, n % 10) for n in range(50)
    ]


async def test_a_receive_that_was_given_up_does_not_keep_the_next_from_hearing() -> None:
    heard = asyncio.Event()

    async def app(_scope: Any, receive: Any, _send: Any) -> None:
        await receive()
        given_up = asyncio.ensure_future(receive())
        await asyncio.sleep(0)
        given_up.cancel()
        assert (await receive())["type"] == "http.disconnect"
        heard.set()

    async with serving(app) as server:
        _reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(b"GET / HTTP/1.1\r\n\r\n")
        await asyncio.sleep(0.05)
        writer.transport.abort()
        await asyncio.wait_for(heard.wait(), 5)
