"""The client's side of HTTP towards a function, against a server that a test plays."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from sesame.sandbox.web.connection import BUFFERED_BYTES_MAX, HEAD_BYTES_MAX, BadResponse, Connection

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
GET = b"GET / HTTP/1.1\r\n\r\n"
PATIENCE_S = 30


@asynccontextmanager
async def connected(serve: Serve) -> AsyncIterator[Connection]:
    done = asyncio.Event()

    async def served(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await serve(reader, writer)
        finally:
            writer.close()
            done.set()

    server = await asyncio.start_server(served, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    _transport, connection = await asyncio.get_running_loop().create_connection(Connection, "127.0.0.1", port)
    async with asyncio.timeout(PATIENCE_S):
        try:
            yield connection
        finally:
            connection.close()
            server.close()
            await done.wait()


def saying(*answers: bytes) -> Serve:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for answer in answers:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(answer)
            await writer.drain()

    return serve


async def whole(connection: Connection) -> bytes:
    pieces = []
    while piece := await connection.read():
        pieces.append(piece)
    return b"".join(pieces)


async def answered(connection: Connection) -> tuple[int, bytes]:
    head = await connection.head()
    return head.status, await whole(connection)


async def test_a_connection_serves_on_after_a_body_that_had_to_wait() -> None:
    large = b"x" * (4 * BUFFERED_BYTES_MAX)
    answers = (b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(large), large),)
    async with connected(saying(*answers, *answers)) as connection:
        for _ in range(2):
            connection.begin(b"GET", GET)
            assert (await connection.head()).length == len(large)
            # All that is buffered has come, and reading is paused.
            await asyncio.sleep(0.05)
            assert await whole(connection) == large
            assert connection.reusable


@pytest.mark.parametrize(
    ("answer", "status", "body", "reusable"),
    [
        (b"HTTP/1.1 204 No Content\r\n\r\n", 204, b"", True),
        (
            b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
            200,
            b"ok",
            True,
        ),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", 200, b"ok", True),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok", 200, b"ok", False),
        (b"HTTP/1.0 200 OK\r\n\r\nuntil the end", 200, b"until the end", False),
    ],
)
async def test_every_framing_of_a_body_is_read(answer: bytes, status: int, body: bytes, reusable: bool) -> None:
    async with connected(saying(answer)) as connection:
        connection.begin(b"GET", GET)
        assert await answered(connection) == (status, body)
        assert connection.reusable is reusable or not reusable


async def test_an_answer_to_head_has_no_body() -> None:
    async with connected(saying(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n")) as connection:
        connection.begin(b"HEAD", b"HEAD / HTTP/1.1\r\n\r\n")
        assert (await connection.head()).header(b"content-length") == b"9"
        assert await connection.read() == b""


@pytest.mark.parametrize(
    "answer",
    [
        b"no HTTP at all\r\n\r\n",
        b"",
        b"HTTP/1.1 200 OK\r\n" + b"X: %b\r\n" % (b"y" * HEAD_BYTES_MAX) * 2,
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\npart",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX: " + b"y" * 8 * HEAD_BYTES_MAX,
    ],
)
async def test_what_is_no_whole_response_is_refused(answer: bytes) -> None:
    async with connected(saying(answer)) as connection:
        connection.begin(b"GET", GET)
        with pytest.raises(BadResponse):
            await answered(connection)
        assert not connection.reusable


@pytest.mark.parametrize("more", [b"HTTP/1.1 404 Not Found\r\nX-Fc-Status: 404\r\n", b"no HTTP at all"])
async def test_what_follows_a_response_is_for_nobody(more: bytes) -> None:
    first = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
    async with connected(saying(first + more)) as connection:
        connection.begin(b"GET", GET)
        head = await connection.head()
        assert (head.status, head.header(b"x-fc-status"), await whole(connection)) == (200, None, b"ok")
        assert not connection.reusable


async def test_trailers_are_no_headers() -> None:
    answer = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX-Fc-Status: 404\r\n\r\n"
    async with connected(saying(answer)) as connection:
        connection.begin(b"GET", GET)
        assert await answered(connection) == (200, b"ok")
        assert (await connection.head()).header(b"x-fc-status") is None
        assert connection.reusable


async def test_both_directions_may_wait_until_the_server_reads() -> None:
    read = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        await read.wait()
        while not (await reader.read(1024 * 1024)).endswith(b"."):
            pass

    async with connected(serve) as connection:
        connection.begin(b"GET", b"x" * 32 * 1024 * 1024 + b".")
        waiting = [asyncio.create_task(connection.drain()) for _ in range(2)]
        await asyncio.sleep(0)
        read.set()
        await asyncio.gather(*waiting)
