"""What functions send beside frames: answers of their web servers, questions for names, requests to the way out.

The first byte of an input says who reads the rest, the second in pieces of how many bytes an answer arrives.
"""

import asyncio
import contextlib
from collections.abc import Iterator

import dns.message
from tests.fuzz.frames import pieces
from tests.http.wire import Wire
from tests.support.fuzzing import Kind, Try

from sesame.fc.refusals import ApiError
from sesame.fc.web.response_heads import ResponseRules, relayed_head, response_head
from sesame.inside.bounds import for_descriptors
from sesame.inside.names import NameServer
from sesame.inside.proxy import _read_head, _Refused
from sesame.model.fair_rate import FairRate
from sesame.sandbox.web.connection import BadResponse, Connection
from sesame.sandbox.web.last_head import LastHead
from sesame.sandbox.web.messages import _Server

ADDRESS = "100.64.0.1"
METHODS = (b"GET", b"HEAD", b"POST", b"GET")


async def answered(data: list[bytes], way: int) -> None:
    """Two requests on one connection, each to its end or to a refusal; an answer's head is passed on, or refused."""
    connection, wire = Connection(LastHead()), Wire()
    connection.connection_made(wire)
    for number, method in enumerate((METHODS[way % 4], b"GET")):
        if number and not connection.reusable:
            return
        connection.begin(method, method + b" / HTTP/1.1\r\nHost: x\r\n\r\n")
        for piece in data:
            if not wire.closed:
                connection.data_received(piece)
        connection.connection_lost(None)
        with contextlib.suppress(BadResponse):
            head = await connection.head(with_body=bool(way & 4))
            rules = ResponseRules(method.decode(), attachment=bool(way & 8), streamed=bool(way & 16))
            with contextlib.suppress(ApiError):
                status, sent = relayed_head(head.status, tuple(head.headers), rules)
                assert 200 <= status <= 599
                assert not any(b"\r" in text or b"\n" in text for header in sent for text in header)
            if head.upgraded:
                server = _Server(connection)
                while await server.receive() is not None:
                    pass
                assert isinstance(server.close_reason, str)
                assert server.close_code > 0
                return
            while await connection.read():
                pass


def named(server: NameServer, question: bytes) -> None:
    answer = server.answer_at_once(question)
    if answer:
        assert dns.message.from_wire(answer).id == int.from_bytes(question[:2], "big")


def led_out(head: bytes) -> None:
    with contextlib.suppress(_Refused):
        _method, host, port, _passed_on = _read_head(head + b"\r\n\r\n")
        assert isinstance(host, str)
        assert 0 <= port <= 65535


def said_by_shim(data: bytes) -> None:
    """The head of a response that a Python function gave, as text."""
    lines = [line.split(":", 1) for line in data.decode("utf-8", "replace").split("\n")]
    for status in (200, 204, 304, int.from_bytes(data[:2], "big")):
        with contextlib.suppress(ApiError):
            response_head({"status": status, "headers": lines}, ResponseRules("GET", attachment=True))


@contextlib.contextmanager
def opened() -> Iterator[Try]:
    bounds = for_descriptors(FairRate(), 2048)
    alone = NameServer(lambda name: name.endswith("own.example"), ADDRESS, None, bounds)
    with asyncio.Runner() as runner:

        def take(data: bytes) -> None:
            if len(data) < 2:
                return
            match data[0] % 8:
                case 0:
                    named(alone, data[2:])
                case 1:
                    led_out(data[2:])
                case 2:
                    said_by_shim(data[2:])
                case _:
                    runner.run(answered(pieces(data[2:], data[1]), data[0] // 8))

        yield take


ANSWERS = [
    b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n\r\nhello",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nX-A: b\r\n\r\n5;x=y\r\nhello\r\n0\r\nTrailer: t\r\n\r\n",
    b"HTTP/1.0 200\r\nSet-Cookie: a=b\r\nset-cookie: c=d\r\n\r\nuntil the end",
    b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No Content\r\nConnection: close, x-fc-y\r\n\r\n",
    b"HTTP/1.1 304 Not Modified\r\nContent-Length: 7\r\nETag: x\r\n\r\n",
    b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n\x81\x05hello"
    b"\x01\x01a\x80\x01b\x89\x01p\x88\x04\x03\xe8ok",
]  # fmt: skip
HEADS = [
    b"CONNECT example.com:443 HTTP/1.1\r\nHost: example.com",
    b"GET http://user@example.com:81/p?q#f HTTP/1.1\r\nHost: x\r\nProxy-Authorization: Basic x\r\nConnection: a",
    b"GET http://[fe80::1%25eth0]/ HTTP/1.1",
]
QUESTIONS = [
    dns.message.make_query("bucket.own.example", "A", use_edns=True, payload=4096).to_wire(),
    dns.message.make_query("example.com", "AAAA").to_wire(),
    dns.message.make_query("_x._tcp.own.example", "ANY", want_dnssec=True).to_wire(),
]
KIND = Kind(
    seeds=[
        *(bytes((way * 8 + 3, 0)) + answer for way in (0, 1, 4, 31) for answer in ANSWERS),
        *(b"\x01\x00" + head for head in HEADS),
        *(b"\x00\x00" + question for question in QUESTIONS),
        b"\x02\x00Content-Type: text/plain\nX-A: \xc3\xbc\nConnection: x-a\nContent-Length: 5\nx-fc-a: b",
    ],
    words=[
        b"HTTP/1.1 ", b"HTTP/1.0 ", b"101 ", b"100 ", b"Content-Length: ", b"Transfer-Encoding: chunked\r\n",
        b"\r\n\r\n", b"Connection: close\r\n", b"Connection: upgrade\r\n", b"Upgrade: websocket\r\n", b"0\r\n\r\n",
        b"5\r\nhello\r\n", b"\x88\x00", b"\x88\x02\x03\xed", b"\x88\x01\x03", b"\x81\xfe\xff\xff",
        b"\x81\x7f\xff\xff\xff\xff\xff\xff\xff\xff",
        b"\x89\x00", b"\x80\x00", b"\xc0\x0c", b"\xc0\x00", b"\x3f" + b"a" * 63, b"\x00\x29", b"\x00\x00\x29\x10\x00",
        b"http://", b"CONNECT ", b"[::1]", b":99999", b"@", b"xn--", b"\x00\xff\x00\x01",
    ],
    opened=opened,
)  # fmt: skip
