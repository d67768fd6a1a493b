"""A closed-loop HTTP/1.1 load: a fixed number of connections, each sending one prepared request again and again, as it
is or with a number of its own.

Used by the benchmarks on Sesame and on its peers alike, so that both pay the same for the client.
Never retries and never forgives: an answer other than the expected one ends the run with an error.
"""

import asyncio
import itertools
import time
from collections.abc import Callable, Iterator
from typing import cast

import msgspec

# A run that is this much over its time has lost an answer.
OVERTIME_S = 30.0


class Answers(msgspec.Struct):
    """What a run saw: seconds for each request in order of completion, and the wall time of the whole run."""

    latencies_s: list[float]
    wall_s: float

    @property
    def per_second(self) -> float:
        return len(self.latencies_s) / self.wall_s

    def percentile_ms(self, share: float) -> float:
        ordered = sorted(self.latencies_s)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))] * 1000


class UnexpectedAnswer(Exception):
    """The server answered something else than was expected of it; the message holds the start of the answer."""


class _Connection(asyncio.Protocol):
    """One keep-alive connection: writes the request, takes the answer apart by its Content-Length, and goes on."""

    def __init__(self, requests: Iterator[bytes], check: Callable[[bytes, bytes], bool], stop_at: float) -> None:
        self._requests = requests
        self._check = check
        self._stop_at = stop_at
        self._buffer = b""
        self._sent_at = 0.0
        self.latencies_s: list[float] = []
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._send()

    def _send(self) -> None:
        request = next(self._requests)
        self._sent_at = time.perf_counter()
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        self._buffer = self._buffer + data if self._buffer else data
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            return
        head = self._buffer[:end]
        at = head.lower().find(b"content-length:")
        if at < 0:
            self._fail(UnexpectedAnswer(f"no Content-Length: {head[:200]!r}"))
            return
        length = int(head[at + 15 :].split(b"\r\n", 1)[0])
        if len(self._buffer) < end + 4 + length:
            return
        body = self._buffer[end + 4 : end + 4 + length]
        self._buffer = b""
        now = time.perf_counter()
        self.latencies_s.append(now - self._sent_at)
        if not self._check(head, body):
            self._fail(UnexpectedAnswer(f"{head[:200]!r} {body[:200]!r}"))
        elif now < self._stop_at:
            self._send()
        else:
            self._transport.close()

    def _fail(self, error: Exception) -> None:
        if not self.done.done():
            self.done.set_exception(error)
        self._transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        if self.done.done():
            return
        if exc is not None or time.perf_counter() < self._stop_at:
            self.done.set_exception(exc or UnexpectedAnswer("the server closed the connection"))
        else:
            self.done.set_result(None)


def http_request(method: str, path: str, headers: dict[str, str], body: bytes = b"") -> bytes:
    """The request as it stands on the wire; Content-Length is added."""
    lines = [f"{method} {path} HTTP/1.1", *(f"{k}: {v}" for k, v in headers.items()), f"Content-Length: {len(body)}"]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1") + body


class KeptConnections:
    """Connections that wait for their next request, the one used last first."""

    def __init__(self, host: str, port: int) -> None:
        self._host = host
        self._port = port
        self._waiting: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def take(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """One of which the end has not been seen, as clients look before they use one again; else a new one."""
        while self._waiting:
            reader, writer = self._waiting.pop()
            if not reader.at_eof() and not writer.is_closing():
                return reader, writer
            writer.close()
        return await asyncio.open_connection(self._host, self._port)

    def give_back(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._waiting.append((reader, writer))

    def close(self) -> None:
        for _reader, writer in self._waiting:
            writer.close()


async def answered(reader: asyncio.StreamReader) -> int:
    """Reads one answer off a connection; its status."""
    return (await whole_answer(reader)).status


class Answer(msgspec.Struct, frozen=True):
    """`goes_on` says whether the connection takes another request."""

    status: int
    body: bytes
    goes_on: bool


async def whole_answer(reader: asyncio.StreamReader) -> Answer:
    head = await reader.readuntil(b"\r\n\r\n")
    lines = head.lower().split(b"\r\n")
    length = next(line for line in lines if line.startswith(b"content-length:"))
    body = await reader.readexactly(int(length.partition(b":")[2]))
    return Answer(int(head.split(b" ", 2)[1]), body, b"connection: close" not in lines)


def numbered(request: bytes) -> Iterator[bytes]:
    """The request again and again, each with a header that no other has."""
    line, rest = request.split(b"\r\n", 1)
    for number in itertools.count():
        yield b"%b\r\nX-Number: %d\r\n%b" % (line, number, rest)


async def run(
    port: int,
    request: bytes,
    *,
    concurrency: int,
    seconds: float,
    expect: bytes,
    status: int = 200,
    distinct: bool = False,
) -> Answers:
    """Loads 127.0.0.1:`port` for `seconds`; every answer must have this status, and `expect` for a body.

    With `distinct` no two requests have the same head.
    """
    requests = numbered(request) if distinct else itertools.repeat(request)

    line = b"HTTP/1.1 %d " % status

    def check(head: bytes, body: bytes) -> bool:
        return head.startswith(line) and body == expect

    loop = asyncio.get_running_loop()
    start = time.perf_counter()
    connections = []
    for _ in range(concurrency):
        _, protocol = await loop.create_connection(
            lambda: _Connection(requests, check, start + seconds), "127.0.0.1", port
        )
        connections.append(protocol)
    async with asyncio.timeout(seconds + OVERTIME_S):
        await asyncio.gather(*(c.done for c in connections))
    wall = time.perf_counter() - start
    return Answers([x for c in connections for x in c.latencies_s], wall)
