"""Connections to any address outside: passed on to the address that they were opened to, or reset."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from sesame.inside import connections
from sesame.inside.bounds import Client, for_descriptors
from sesame.inside.connections import Connections
from sesame.inside.relaying import Streams
from sesame.inside.rules import EgressRules, parse
from sesame.model.fair_rate import FairRate

PATIENCE_S = 60.0


@asynccontextmanager
async def passing_on(*allowed: str) -> AsyncIterator[tuple[str, int]]:
    """Where connections come to that are then passed on to this same address, as it is their own."""
    listening = socket.create_server(("127.0.0.1", 0))
    listening.setblocking(False)
    end = Connections(EgressRules([parse(text) for text in allowed]), for_descriptors(FairRate(), 2048)).serve(
        listening, "test"
    )
    try:
        yield listening.getsockname()
    finally:
        end()


async def said_to(address: tuple[str, int]) -> bytes:
    reader, writer = await asyncio.open_connection(*address)
    try:
        writer.write(b"hello")
        return await asyncio.wait_for(reader.read(), PATIENCE_S)
    finally:
        writer.transport.abort()


async def test_it_is_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"there " + await reader.read(100))
        writer.close()

    asked: list[tuple[str, int]] = []
    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    outside = server.sockets[0].getsockname()

    async def elsewhere(_client: Client, host: str, port: int, _within_s: float) -> Streams:
        asked.append((host, port))
        return await asyncio.open_connection(*outside)

    async with server, passing_on("127.0.0.1") as address:
        monkeypatch.setattr(connections, "connected", elsewhere)
        reader, writer = await asyncio.open_connection(*address)
        writer.write(b"hello")
        assert await asyncio.wait_for(reader.read(), PATIENCE_S) == b"there hello"
        writer.close()
        assert asked == [address]


async def test_what_may_not_be_reached_is_reset() -> None:
    async with passing_on() as address:
        with pytest.raises(ConnectionResetError):
            await said_to(address)


async def test_what_nobody_answers_is_reset(monkeypatch: pytest.MonkeyPatch) -> None:
    async def refused(_client: Client, _host: str, _port: int, _within_s: float) -> Streams:
        raise ConnectionRefusedError

    monkeypatch.setattr(connections, "connected", refused)
    async with passing_on("127.0.0.1") as address:
        with pytest.raises(ConnectionResetError):
            await said_to(address)
