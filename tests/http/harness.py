"""An endpoint on a real socket, made of one function, and clients that speak raw bytes."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

from sesame.http.interface import Answer, Exchange, Refusal
from sesame.http.limits import Limits
from sesame.http.server import HttpServer

Serve = Callable[[Exchange], Coroutine[Any, Any, None]]
TIMEOUT_S = 30
GET = b"GET /a%20b?x=1 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"


class Endpoint:
    """Answers with `serve`; refusals are plain text that names their reason."""

    def __init__(self, serve: Serve) -> None:
        self._serve = serve
        self.refused: list[Refusal] = []

    async def serve(self, exchange: Exchange) -> None:
        await self._serve(exchange)

    def refuse(self, refusal: Refusal) -> Answer:
        self.refused.append(refusal)
        text = f"{refusal.reason.name}: {refusal.message}".encode()
        return Answer(refusal.reason.value, ((b"Content-Type", b"text/plain"),), text)


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@asynccontextmanager
async def serving(serve: Serve | Endpoint, limits: Limits | None = None, **options: Any) -> AsyncIterator[HttpServer]:
    endpoint = serve if isinstance(serve, Endpoint) else Endpoint(serve)
    server = HttpServer(endpoint, limits=limits, **options)
    await server.start()
    try:
        yield server
    finally:
        await server.stop(grace_s=0.1)


async def all_of(serve: Serve | Endpoint, request: bytes, limits: Limits | None = None) -> bytes:
    """Everything that comes back until the server closes its side; the request asks it to."""
    async with serving(serve, limits) as server:
        return await told(server, request)


async def told(server: HttpServer, request: bytes) -> bytes:
    """The same, of a server that goes on."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(request)
    try:
        return await asyncio.wait_for(reader.read(), TIMEOUT_S)
    finally:
        writer.close()


def answering(pieces: list[bytes], headers: list[tuple[bytes, bytes]], status: int = 200) -> Serve:
    """An endpoint's `serve` that sends an answer in pieces."""

    async def serve(exchange: Exchange) -> None:
        exchange.begin(status, headers)
        for piece in pieces[:-1]:
            await exchange.send(piece)
        await exchange.send(pieces[-1], last=True)

    return serve


def whole(body: bytes, status: int = 200, headers: tuple[tuple[bytes, bytes], ...] = ((b"X-A", b"1"),)) -> Serve:
    """An endpoint's `serve` that sends an answer at once."""

    async def serve(exchange: Exchange) -> None:
        exchange.send_whole(status, headers, b"X-B: 2\r\n", body)

    return serve


async def echo(exchange: Exchange) -> None:
    """Answers with path and body."""
    body = await exchange.read_body(100 * 1024 * 1024)
    exchange.send_whole(200, (), b"", exchange.request.raw_path + b" " + bytes(body))


async def until(condition: Callable[[], bool], what: str) -> None:
    """Returns once the condition holds; fails when it does not hold in time."""
    for _ in range(TIMEOUT_S * 200):
        if condition():
            return
        await asyncio.sleep(0.005)
    raise AssertionError(f"waited in vain for {what}")
