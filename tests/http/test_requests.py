"""What is no request, or not one that is served here: each is answered as the RFCs say, and nothing is smuggled."""

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.http.harness import GET, TIMEOUT_S, Endpoint, all_of, echo, serving, told
from tests.http.wire import Talk, whole_answers
from tests.support.examples import examples

from sesame.http.interface import Exchange
from sesame.http.limits import Limits

POST = b"POST / HTTP/1.1\r\nHost: x\r\n"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"
# What would be a second request for a reader that ends the first one elsewhere.
HIDDEN = b"GET /hidden HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        # RFC 9112 §6.3: lengths that differ, are repeated, or stand beside a coding.
        (POST + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\nabc" + HIDDEN, 400),
        (POST + b"Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc", 400),
        (POST + b"Content-Length: 3, 3\r\n\r\nabc", 400),
        (POST + b"Content-Length: +3\r\n\r\nabc", 400),
        (POST + b"Content-Length: -1\r\n\r\n", 400),
        (POST + b"Content-Length: 0x3\r\n\r\nabc", 400),
        (POST + b"Content-Length: 3\x0b\r\n\r\nabc", 400),
        (POST + b"Content-Length:\r\n\r\nabc", 400),
        (POST + b"Content-Length: 99999999999999999999999\r\n\r\nabc", 400),
        (POST + b"Content-Length: " + b"0" * 5000 + b"3\r\n\r\nabc", 400),
        (POST + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + HIDDEN, 400),
        (POST + b"Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n" + HIDDEN, 400),
        # RFC 9112 §6.1: codings that are unknown, disguised, or of HTTP/1.0.
        (POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 501),
        (POST + b"Transfer-Encoding: gzip\r\n\r\n" + HIDDEN, 501),
        (POST + b"Transfer-Encoding: chunked, identity\r\n\r\n" + HIDDEN, 400),
        (POST + b"Transfer-Encoding: xchunked\r\n\r\n" + HIDDEN, 501),
        (POST + b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n", 400),
        (POST + b"Transfer-Encoding:\x0bchunked\r\n\r\n0\r\n\r\n", 400),
        (POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        (b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        # RFC 9112 §5.2 and §2.2: folded lines and bare line feeds.
        (b"GET / HTTP/1.1\r\nHost: x\r\nA: b\r\n c\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: x\r\n Folded: first\r\n\r\n", 400),
        (b"GET / HTTP/1.1\nHost: x\n\n", 400),
        (b"GET / HTTP/1.1\r\nHost: x\nContent-Length: 3\r\n\r\nabc", 400),
        (b"GET / HTTP/1.1\r\nHost: x\r\nA: b\rc\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: x\r\nA: b\x00c\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: x\r\nA\x00: b\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: x\r\n: b\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: x\r\nno colon\r\n\r\n", 400),
        # RFC 9112 §7.1: sizes of chunks.
        (CHUNKED + b"fffffffffffffffff\r\nabc", 400),
        (CHUNKED + b"-1\r\nabc\r\n", 400),
        (CHUNKED + b"0x3\r\nabc\r\n0\r\n\r\n", 400),
        (CHUNKED + b"3 \r\nabc\r\n0\r\n\r\n", 400),
        (CHUNKED + b"3\nabc\n0\n\n", 400),
        (CHUNKED + b"3\r\nabcd\r\n0\r\n\r\n", 400),
        (CHUNKED + b"\r\nabc\r\n0\r\n\r\n", 400),
        # RFC 9112 §3.2: the Host.
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a@b\r\n\r\n", 400),
        # RFC 9112 §3: request lines and targets.
        (b"not http at all\r\n\r\n", 400),
        (b"GET /a b HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        (b"GET foo HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        (b"GET http:///a HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        (b"GET http://x:65536/ HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        (b"GET http://x:1:2/ HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        (b"GET http://[::1/ HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        (b"GET /a\x7f HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        (b"GET /\xc3\xa9 \xc3\xa9 HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        (b"G\xc3\x89T / HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        (b"GET / HTTP/1.1\xc3\xa9\r\nHost: x\r\n\r\n", 400),
        (b"GET * HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        (b"CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n" + HIDDEN, 501),
        (b"GET / HTTP/2.0\r\nHost: x\r\n\r\n", 505),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
        (b"GET / HTTP/0.9\r\n\r\n", 505),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
    ],
)
async def test_refused(request_bytes: bytes, status: int) -> None:
    served: list[str] = []

    async def serve(exchange: Exchange) -> None:
        served.append(exchange.request.path)
        await echo(exchange)

    endpoint = Endpoint(serve)
    async with serving(endpoint) as server:
        raw = await told(server, request_bytes)
    assert raw.startswith(b"HTTP/1.1 %d " % status), raw
    assert raw.count(b"HTTP/1.1 ") == 1
    assert b"\r\nConnection: close\r\n" in raw
    assert "/hidden" not in served
    [refusal] = endpoint.refused
    assert refusal.reason.value == status
    assert refusal.reason.name.encode() in raw


async def test_the_requests_before_a_refused_one_are_answered_first() -> None:
    async def serve(exchange: Exchange) -> None:
        await asyncio.sleep(0.01)
        await echo(exchange)

    raw = await all_of(serve, b"GET /1 HTTP/1.1\r\nHost: x\r\n\r\nGET /2 HTTP/1.1\r\nHost: x\r\n\r\nbroken\r\n\r\n")
    assert raw.index(b"/1 ") < raw.index(b"/2 ") < raw.index(b"MALFORMED")


@pytest.mark.parametrize("where", ["head", "body"])
async def test_a_request_that_breaks_off_in_its_body_is_refused_and_the_endpoint_told(where: str) -> None:
    raw = await all_of(echo, CHUNKED + b"3\r\nabc\r\nxyz")
    assert raw.startswith(b"HTTP/1.1 400 ")
    assert raw.count(b"HTTP/1.1 ") == 1


async def test_chunks_are_joined_and_their_extensions_ignored() -> None:
    raw = await all_of(echo, CHUNKED + b'3;name=value;q="a b"\r\nabc\r\n02\r\nde\r\n0;last\r\n\r\n' + GET)
    assert b"\r\n\r\n/ abcde" in raw
    assert raw.count(b"200 OK") == 2


async def test_white_space_around_a_value_is_no_part_of_it() -> None:
    seen: list[tuple[tuple[bytes, bytes], ...]] = []

    async def serve(exchange: Exchange) -> None:
        seen.append(exchange.request.headers)
        exchange.send_whole(200, (), b"", bytes(await exchange.read_body(100)))

    head = b"POST / HTTP/1.1\r\nHost: x \r\nTransfer-Encoding:\t chunked \r\nX-A:  a b \t\r\nX-B: \r\n\r\n"
    chunked = head + b"3\r\nabc\r\n0\r\n\r\n"
    raw = await all_of(serve, chunked + POST + b"Content-Length: 3 \r\nConnection: close \r\n\r\nabc")
    assert raw.count(b"200 OK") == 2
    assert raw.count(b"abc") == 2
    assert seen[0] == ((b"host", b"x"), (b"transfer-encoding", b"chunked"), (b"x-a", b"a b"), (b"x-b", b""))


async def test_trailers_are_dropped() -> None:
    seen: list[tuple[tuple[bytes, bytes], ...]] = []

    async def serve(exchange: Exchange) -> None:
        await exchange.read_body(100)
        seen.append(exchange.request.headers)
        exchange.send_whole(200, (), b"", b"")

    raw = await all_of(serve, CHUNKED + b"3\r\nabc\r\n0\r\nAuthorization: forged\r\nHost: other\r\n\r\n" + GET)
    assert raw.count(b"200 OK") == 2
    assert seen[0] == ((b"host", b"x"), (b"transfer-encoding", b"chunked"))


async def test_a_trailer_without_end_is_refused() -> None:
    raw = await all_of(echo, CHUNKED + b"0\r\n" + b"A: b\r\n" * 10_000)
    assert raw.startswith(b"HTTP/1.1 400 ")
    assert b"trailer" in raw


async def test_the_host_of_an_absolute_target_counts() -> None:
    hosts: list[bytes | None] = []

    async def serve(exchange: Exchange) -> None:
        hosts.append(exchange.request.header(b"host"))
        exchange.send_whole(200, (), b"", exchange.request.raw_path)

    for target, host in (
        (b"http://real:81/p?q", b"real:81"), (b"http://[::1]/p", b"[::1]"), (b"http://real", b"real"),
        (b"http://a_project.real/p", b"a_project.real"), (b"http://real:/p", b"real"), (b"http://real?/p", b"real"),
        (b"http://user@real:81/@p#f", b"real:81"),
    ):  # fmt: skip
        raw = await all_of(serve, b"GET %b HTTP/1.1\r\nHost: shown\r\nConnection: close\r\n\r\n" % target)
        assert raw.startswith(b"HTTP/1.1 200 ")
        assert hosts.pop() == host


@pytest.mark.parametrize(
    ("sent", "target"),
    [
        ("/数据/%61?名=张三&x=+".encode(), b"/%E6%95%B0%E6%8D%AE/%61 %E5%90%8D=%E5%BC%A0%E4%B8%89&x=+"),
        ("http://real/数据".encode(), b"/%E6%95%B0%E6%8D%AE "),
        ("/数据".encode("gbk"), b"/%CA%FD%BE%DD "),
        (b"/\xff", b"/%FF "),
    ],
)
@pytest.mark.parametrize("step", [1, 7, 10_000])
async def test_a_target_that_is_not_ascii_is_escaped(sent: bytes, target: bytes, step: int) -> None:
    async def serve(exchange: Exchange) -> None:
        request, body = exchange.request, bytes(await exchange.read_body(100))
        named = request.header(b"x-name") or b""
        exchange.send_whole(200, (), b"", b"[" + request.raw_path + b" " + request.query + b"|" + named + body + b"]")

    talk = Talk(serve)
    request = b"POST %b HTTP/1.1\r\nHost: x\r\nX-Name: \xc3\xa9\r\nContent-Length: 2\r\n\r\n\xc3\xa9" % sent
    for _time in range(3):
        await talk.say_in_pieces(request, step)
    assert talk.wire.written.count(b"[" + target + b"|\xc3\xa9\xc3\xa9]") == 3, talk.wire.written
    await talk.hang_up()


async def test_options_of_the_server_itself() -> None:
    raw = await all_of(echo, b"OPTIONS * HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert raw.startswith(b"HTTP/1.1 200 ")
    assert b"\r\nAllow: GET, " in raw
    assert b"\r\nContent-Length: 0\r\n" in raw


@pytest.mark.parametrize("upgrade", [b"h2c", b"TLS/1.0", b"websocket"])
async def test_an_upgrade_that_is_not_served_is_ignored(upgrade: bytes) -> None:
    head = POST + b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: %b\r\nHTTP2-Settings: A\r\n" % upgrade
    for framing, body in (
        (b"Content-Length: 3\r\n\r\n", b"abc"),
        (b"Transfer-Encoding: chunked\r\n\r\n", b"3\r\nabc\r\n0\r\n\r\n"),
    ):
        raw = await all_of(echo, head + framing + body + GET)
        assert b"\r\n\r\n/ abc" in raw
        assert raw.count(b"200 OK") == 2


async def test_a_length_of_too_many_digits_is_refused_with_the_reason() -> None:
    raw = await all_of(echo, POST + b"Content-Length: " + b"0" * 5000 + b"3\r\n\r\nabc")
    assert raw.startswith(b"HTTP/1.1 400 ")
    assert b"Content-Length has more than 19 digits" in raw


async def test_a_head_without_end_is_cut_off() -> None:
    limits = Limits(head_bytes=64 * 1024)
    for start in (b"GET / HTTP/1.1\r\nx: ", b"GET /"):
        async with serving(echo, limits) as server:
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            writer.write(start)
            answer = asyncio.ensure_future(reader.read())
            piece, sent = b"a" * 16384, 0
            while not answer.done() and sent < 4 * limits.head_bytes:
                writer.write(piece)
                sent += len(piece)
                await writer.drain()
                await asyncio.wait({answer}, timeout=0.01)
            assert (await asyncio.wait_for(answer, TIMEOUT_S)).startswith(b"HTTP/1.1 431 ")
            assert sent >= limits.head_bytes
            writer.close()


async def test_a_head_of_very_many_headers_is_refused() -> None:
    raw = await all_of(echo, b"GET / HTTP/1.1\r\nHost: x\r\n" + b"a:\r\n" * 2000 + b"\r\n")
    assert raw.startswith(b"HTTP/1.1 431 ")


async def test_an_endpoint_that_cannot_refuse_is_spoken_for() -> None:
    class Broken(Endpoint):
        def refuse(self, refusal: object) -> object:  # type: ignore[override]
            raise ValueError("inside")

    raw = await all_of(Broken(echo), b"broken\r\n\r\n")
    assert raw.startswith(b"HTTP/1.1 500 ")
    assert b"inside" not in raw


pieces = st.sampled_from(
    [
        b"GET ", b"POST ", b"/", b"/a?b ", b"* ", b"HTTP/1.1", b"HTTP/1.0", b"\r\n", b"\n", b"\r", b" ", b":", b"\0",
        b"Host: x\r\n", b"Content-Length: 3\r\n", b"Content-Length: 1\r\n", b"Transfer-Encoding: chunked\r\n",
        b"Expect: 100-continue\r\n", b"Connection: close\r\n", b"Connection: upgrade\r\nUpgrade: websocket\r\n",
        b"\r\n\r\n", b"abc", b"3\r\nabc\r\n", b"0\r\n\r\n", GET, CHUNKED,
    ]
)  # fmt: skip


@settings(max_examples=examples(60))
@given(st.lists(pieces, max_size=25), st.integers(1, 40))
def test_whatever_comes_nothing_breaks(sent: list[bytes], step: int) -> None:
    """Each answer is whole, and the connection still knows what is under way."""

    async def talk() -> bytes:
        talking = Talk(echo)
        await talking.say_in_pieces(b"".join(sent), step)
        talking.passes(200)
        await talking.turns()
        return await talking.hang_up()

    whole_answers(asyncio.run(talk()))
