"""Requests to the HTTP server, some on one connection, each answered or refused: no answer is cut off or left out.

The first byte of an input says in pieces of how many bytes the rest arrives.
"""

import asyncio
import contextlib
from collections.abc import Iterator

from tests.http.harness import GET
from tests.http.test_requests import CHUNKED, HIDDEN, POST
from tests.http.wire import Talk, whole_answers
from tests.support.fuzzing import Kind, Try

from sesame.http.interface import BodyTooLarge, Exchange


async def answer(exchange: Exchange) -> None:
    """With path and body; HEAD with nothing, so that whole answers can be told from the bytes alone."""
    try:
        body = await exchange.read_body(100 * 1024)
    except BodyTooLarge:
        exchange.send_whole(413, (), b"", b"")
        return
    said = b"" if exchange.request.method == "HEAD" else exchange.request.raw_path + b" " + bytes(body)
    exchange.send_whole(200, (), b"", said)


async def talk(stream: bytes, step: int) -> bytes:
    talking = Talk(answer)
    await talking.say_in_pieces(stream, step)
    if talking.shared.running:
        # What waits for more is given up in time.
        talking.passes(200)
        await talking.turns()
    written = await talking.hang_up()
    talking.close()
    return written


@contextlib.contextmanager
def opened() -> Iterator[Try]:
    with asyncio.Runner() as runner:

        def take(data: bytes) -> None:
            # Pieces of one byte would measure the loop.
            step = max(len(data) // 50, (data[0] if data else 0) or 65536)
            whole_answers(runner.run(talk(data[1:], step)))

        yield take


HOST = b"Host: fc.example:9000\r\n"
KIND = Kind(
    seeds=[
        b"\0" + GET,
        b"\0" + CHUNKED + b'3;name=value;q="a b"\r\nabc\r\n02\r\nde\r\n0;last\r\nTrailer: x\r\n\r\n' + GET,
        b"\x11" + POST + b"Content-Length: 3\r\n\r\nabc" + HIDDEN,
        b"\0" + POST + b"Expect: 100-continue\r\nContent-Length: 3\r\n\r\nabc",
        b"\0GET http://real:81/p?q HTTP/1.1\r\n" + HOST + b"\r\n",
        b"\0OPTIONS * HTTP/1.1\r\n" + HOST + b"Connection: close\r\n\r\n",
        b"\0HEAD /a/../b//c?x=%zz&y HTTP/1.0\r\n" + HOST + b"Connection: keep-alive\r\n\r\n" + GET,
        b"\0GET /ws HTTP/1.1\r\n" + HOST + b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n\x81\x85\0\0\0\0hello\x88\x80\0\0\0\0",
        b"\0" + POST + b"Cookie: a=b; c=d\r\nX-Forwarded-For: 1.2.3.4\r\nAuthorization: FC id:c2ln\r\nTE: trailers\r\n"
        b"Accept-Encoding: gzip;q=0.5, br\r\nContent-Type: application/json\r\nContent-Length: 0\r\n\r\n",
        b"\0" + HIDDEN * 8,
        b"\0\r\n\r\n" + HIDDEN,
        b"\0\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"\0PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ],
    words=[
        b"GET ", b"POST ", b"CONNECT ", b"* ", b" HTTP/1.1", b" HTTP/1.0", b"\r\n\r\n", HOST, b"Content-Length: ",
        b"Content-Length: 3\r\n", b"Transfer-Encoding: chunked\r\n", b"chunked", b"Expect: 100-continue\r\n",
        b"Connection: close\r\n", b"Connection: upgrade\r\n", b"Upgrade: websocket\r\n", b"3\r\nabc\r\n", b"0\r\n\r\n",
        b"0\r\n", b"ffffffffffffffff\r\n", b"\r", b"\x0b", b" :", b"://", b"[::1]", b"@", b"%", b";a=b", GET, CHUNKED,
    ],
    opened=opened,
)  # fmt: skip
