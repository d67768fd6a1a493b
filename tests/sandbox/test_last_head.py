"""A head that was parsed once is not parsed again: the parser would have found the same, whatever a server sends."""

import asyncio
import itertools
from typing import Any

import pytest

from sesame.sandbox.web.connection import BadResponse, Connection
from sesame.sandbox.web.last_head import LastHead

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\nContent-Length: 5\r\n\r\n"
OTHER_LENGTH = HEAD.replace(b": 5", b": 50")
RESPONSES = [
    HEAD + b"hello",
    HEAD + b"\r\n\r\n\n",
    HEAD + b"hello" + HEAD + b"again",
    HEAD + b"hell",
    HEAD.replace(b"200 OK", b"404 Not Found") + b"hello",
    HEAD.replace(b"200 OK", b"304 Not Modified"),
    HEAD.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n") + b"hello",
    HEAD.replace(b"HTTP/1.1", b"HTTP/1.0") + b"hello",
    HEAD.replace(b"\r\n\r\n", b"\r\nTransfer-Encoding: chunked\r\n\r\n") + b"2\r\nok\r\n0\r\n\r\n",
    HEAD.replace(b"\r\n", b"\n") + b"hello",
    OTHER_LENGTH + b"x" * 50,
    b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + HEAD + b"hello",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 101 Switching Protocols\r\nContent-Length: 5\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\nhello",
    b"no HTTP at all",
]


class Wire(asyncio.Transport):
    """Takes everything, and says nothing."""

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return default

    def write(self, data: Any) -> None:
        pass

    def abort(self) -> None:
        pass


async def found(method: bytes, pieces: list[bytes], last_head: LastHead) -> tuple[Any, ...]:
    """What a client learns of a response that arrives in these pieces and ends with its connection."""
    connection = Connection(last_head)
    connection.connection_made(Wire())
    connection.begin(method, b"")
    for piece in pieces:
        connection.data_received(piece)
    reusable = connection.reusable
    connection.connection_lost(None)
    taken: list[bytes] = []
    try:
        head = await connection.head()
    except BadResponse as error:
        return reusable, str(error)
    try:
        while piece := await connection.read():
            taken.append(piece)
    except BadResponse as error:
        taken.append(str(error).encode())
    return reusable, head.status, head.headers, head.length, head.upgraded, b"".join(taken)


@pytest.mark.parametrize("method", [b"GET", b"HEAD"])
async def test_a_known_head_says_what_it_said_to_the_parser(method: bytes) -> None:
    for before, now in itertools.product(RESPONSES, RESPONSES):
        for cut in range(0, len(now), 3):
            pieces = [now[:cut], now[cut:]] if cut else [now]
            known = LastHead()
            await found(b"GET", [before], known)
            assert await found(method, pieces, known) == await found(method, pieces, LastHead()), (before, pieces)


async def test_the_usual_head_is_recognized_on_every_connection() -> None:
    known = LastHead()
    await found(b"GET", [RESPONSES[0]], known)
    assert known.data == HEAD
    for answer in RESPONSES[1:4]:
        await found(b"GET", [answer], known)
        assert known.data == HEAD


async def test_who_wants_a_body_is_woken_when_it_has_come() -> None:
    for known in (LastHead(), LastHead()):
        connection = Connection(known)
        connection.connection_made(Wire())
        for _ in range(2):
            connection.begin(b"GET", b"")
            reading = asyncio.create_task(connection.head(with_body=True))
            await asyncio.sleep(0)
            connection.data_received(HEAD)
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            assert not reading.done()
            assert (await connection.head()).length == 5
            connection.data_received(b"hello")
            assert (await reading).status == 200
            assert await connection.read() == b"hello"
            assert connection.reusable
