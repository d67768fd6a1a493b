"""Frames of a command's websocket, and its sessions with a command that is a fake."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from email.utils import formatdate
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.fc.conftest import NOW, Endpoint, request_of, scope
from tests.http.harness import Clock
from tests.support import acs
from tests.support.exchanges import FakeWebSocket
from tests.support.fakes import FakeExecution, ReadFrom
from tests.support.sdk import KEY_ID, SECRET

from sesame.engine.interface import InstanceInfo, RunningCommand
from sesame.fc.exec import frames as exec_frames
from sesame.fc.exec.frames import Characters, EndOfInput, Input, Resize
from sesame.http.interface import Answer
from sesame.http.limits import Limits
from sesame.http.server import HttpServer
from sesame.model.command import Command

PATH = "/2016-08-15/services/svc/functions/fn/instances/c-1/exec"


@given(st.binary())
def test_input_arrives_whole_with_its_byte_and_bare(data: bytes) -> None:
    assert exec_frames.received(b"\0" + data, tty=True) == Input(data)
    if data[:1] not in (b"\0", b"\x04"):
        assert exec_frames.received(data, tty=True) == Input(data)


@pytest.mark.parametrize(
    ("message", "tty", "meant"),
    [
        ("\0中", True, Input("中".encode())),
        ("\x03", True, Input(b"\x03")),
        ("\x04", True, Input(b"\x04")),
        ("\x04", False, EndOfInput()),
        ("\0\x04", False, Input(b"\x04")),
        ('\x04{"Width":80,"Height":24}', True, Resize(80, 24)),
        ('\x04{"cols":132,"rows":43}', True, Resize(132, 43)),
        ('\x04{"width":0,"height":24}', True, Input(b'\x04{"width":0,"height":24}')),
        ('\x04{"width":true,"height":24}', True, Input(b'\x04{"width":true,"height":24}')),
        ("\x04ls\n", True, Input(b"\x04ls\n")),
        ("\x04" + '{"a":' * 5000, True, Input(b"\x04" + b'{"a":' * 5000)),
        ('\x04{"rows":' + "9" * 5000 + "}", True, Input(b'\x04{"rows":' + b"9" * 5000 + b"}")),
        ("", True, Input(b"")),
    ],
)
def test_what_messages_mean(message: str, tty: bool, meant: Any) -> None:
    assert exec_frames.received(message, tty=tty) == meant


@given(st.text(), st.lists(st.integers(0, 40)))
def test_text_stays_text_wherever_it_is_cut(text: str, cuts: list[int]) -> None:
    data, characters, said = text.encode(), Characters(), []
    places = sorted(min(cut, len(data)) for cut in cuts)
    for start, end in zip([0, *places], [*places, len(data)], strict=True):
        said.append(exec_frames.to_send(1, characters.whole(data[start:end])))
    assert characters.rest() == b""
    assert "".join(str(message)[1:] for message in said) == text


@given(st.lists(st.binary()))
def test_bytes_are_neither_lost_nor_turned_round(pieces: list[bytes]) -> None:
    characters = Characters()
    assert b"".join(map(characters.whole, pieces)) + characters.rest() == b"".join(pieces)


class Instance:
    """A running instance whose commands are fakes."""

    info = InstanceInfo("c-1", "svc", "fn", "LATEST")
    ended = False

    def __init__(self) -> None:
        self.started = asyncio.Event()
        self.execution: FakeExecution

    @asynccontextmanager
    async def exec(self, instance: InstanceInfo, command: Command) -> AsyncIterator[RunningCommand]:
        assert instance == self.info
        self.execution = FakeExecution(command)
        self.started.set()
        try:
            yield RunningCommand(self.execution, lambda: self.ended)
        finally:
            await self.execution.close()


def opened(endpoint: Endpoint, query: str = "", path: str = PATH) -> FakeWebSocket:
    """A client that asks for a websocket at the endpoint."""
    signed = endpoint.signed("GET", path.removeprefix("/2016-08-15"))
    client = FakeWebSocket(request_of(scope("GET", f"{path}?{query}", signed)))
    client.serve(endpoint.gateway)
    return client


@pytest.fixture
async def instance(endpoint: Endpoint, function_body: dict[str, Any]) -> Instance:
    await endpoint.call("POST", "/services", {"serviceName": "svc"})
    made = await endpoint.call("POST", "/services/svc/functions", {**function_body, "functionName": "fn"})
    assert made.status == 200, made.body
    running = Instance()
    endpoint.engine.running.append(running.info)
    endpoint.engine.exec = running.exec
    return running


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/2021-04-06/services/svc/functions/fn/instances/c-1/exec"),
        ("GET", "/2023-03-30/functions/svc$fn/instances/c-1/exec"),
    ],
)
async def test_a_session_through_later_versions(endpoint: Endpoint, instance: Instance, method: str, path: str) -> None:
    path += "?command=ls&qualifier=LATEST"
    made = acs.signed(method, path, {}, b"", keys=(KEY_ID, SECRET), at=NOW)
    client = FakeWebSocket(request_of(scope(method, path, made)))
    client.serve(endpoint.gateway)
    assert await client.next() == {b"X-Fc-Request-Id", b"Date"}
    instance.execution.exit(0)
    assert await client.next() == (1000, "exit status 0")


async def test_a_session_from_its_opening_to_its_end(endpoint: Endpoint, instance: Instance) -> None:
    client = opened(endpoint, "command=sh&command=-c&command=x+y%26&tty=True&idleTimeout=5")
    assert await client.next() == {b"X-Fc-Request-Id", b"Date"}
    assert instance.execution.command == Command(("sh", "-c", "x y&"), tty=True)
    client.say("\0hello")
    assert await client.next() == "\x01hello"
    client.say('\x04{"Width":80,"Height":24}')
    client.say("\0again")
    assert await client.next() == "\x01again"
    assert instance.execution.sizes == [(80, 24)]
    instance.execution.say(1, b"\xff")
    assert await client.next() == b"\x01\xff"
    instance.execution.exit(3)
    assert await client.next() == "\x05exit status 3"
    assert await client.next() == (1000, "exit status 3")
    await client.task
    assert instance.execution.closed


async def test_without_items_it_is_a_shell_with_all_three_streams(endpoint: Endpoint, instance: Instance) -> None:
    client = opened(endpoint)
    await client.next()
    assert instance.execution.command == Command(("/bin/bash",), tty=False, stdin=True)
    instance.execution.say(2, b"err")
    assert await client.next() == "\x02err"
    client.say("\x04")
    assert await client.next() == (1000, "exit status 0")
    await client.task


async def test_a_client_that_goes_away_while_its_input_is_not_read(endpoint: Endpoint, instance: Instance) -> None:
    client = opened(endpoint)
    await client.next()

    async def never(_data: bytes) -> None:
        await asyncio.Event().wait()

    instance.execution.write = never  # type: ignore[assignment,method-assign]
    for _ in range(5):
        client.say("\0more")
    client.leave()
    await asyncio.wait_for(client.task, 30)
    assert instance.execution.closed


async def test_a_command_that_ends_with_its_instance(endpoint: Endpoint, instance: Instance) -> None:
    client = opened(endpoint)
    await client.next()
    instance.ended = True
    instance.execution.exit(137)
    assert await client.next() == "\x03the instance has ended"
    assert (await client.next())[0] == 1001
    await client.task


@pytest.mark.parametrize(
    ("query", "path", "status", "code"),
    [
        ("tty=1", PATH, 400, "InvalidArgument"),
        ("idleTimeout=-1", PATH, 400, "InvalidArgument"),
        ("command=%00", PATH, 400, "InvalidArgument"),
        ("command=", PATH, 400, "InvalidArgument"),
        ("command=" + "x" * 20_000, PATH, 400, "InvalidArgument"),
        ("", PATH.replace("c-1", "c-2"), 404, "InstanceNotFound"),
        ("", PATH.replace("/svc/", "/svc.3/"), 404, "VersionNotFound"),
        ("", PATH + "/more", 400, "PathNotSupported"),
        ("", "/elsewhere", 403, "SignatureNotMatch"),
    ],
)
async def test_refusals(endpoint: Endpoint, instance: Instance, query: str, path: str, status: int, code: str) -> None:
    client = opened(endpoint, query, path)
    answer = await client.next()
    assert isinstance(answer, Answer)
    assert answer.status == status
    assert f'"ErrorCode":"{code}"'.encode() in answer.body
    await client.task
    assert not instance.started.is_set()


async def test_an_upgraded_connection_is_not_closed_as_an_idle_one(endpoint: Endpoint, instance: Instance) -> None:
    endpoint.now[0] = time.time()
    clock = Clock()
    server = HttpServer(endpoint.gateway, limits=Limits(keep_alive_s=5.0), clocks=ReadFrom(clock))
    await server.start()
    try:
        reading, writing = await asyncio.open_connection(server.host, server.port)
        writing.write(b"GET /openapi.json HTTP/1.1\r\nhost: h\r\n\r\n")
        head = await asyncio.wait_for(reading.readuntil(b"\r\n\r\n"), 30)
        length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length"))
        await reading.readexactly(int(length.partition(b":")[2]))
        sent = {
            **endpoint.signed("GET", PATH.removeprefix("/2016-08-15"), {"date": formatdate(usegmt=True)}),
            "connection": "Upgrade",
            "upgrade": "websocket",
            "sec-websocket-version": "13",
            "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ==",
        }
        lines = "".join(f"{name}: {value}\r\n" for name, value in sent.items())
        writing.write(f"GET {PATH} HTTP/1.1\r\n{lines}\r\n".encode())
        upgraded = await asyncio.wait_for(reading.readuntil(b"\r\n\r\n"), 30)
        assert upgraded.startswith(b"HTTP/1.1 101 ")
        # Longer than the connection might be idle between two requests.
        for _ in range(12):
            clock.now += 1.0
            server.tick()
        instance.execution.say(1, b"hi")
        assert await asyncio.wait_for(reading.readexactly(5), 30) == b"\x81\x03\x01hi"
        writing.close()
        await asyncio.wait_for(instance.execution.ended.wait(), 30)
    finally:
        await server.stop(grace_s=1)


@pytest.mark.parametrize("key", ["!" * 24, "dGhlIHNhbXBsZSBub25jZQ=", "A" * 24, "dGhlIHNhbXBsZSBub25j!Q=="])
async def test_a_key_that_is_none_is_answered_as_a_plain_request(endpoint: Endpoint, key: str) -> None:
    server = HttpServer(endpoint.gateway)
    await server.start()
    try:
        reading, writing = await asyncio.open_connection(server.host, server.port)
        head = f"GET {PATH} HTTP/1.1\r\nhost: h\r\nconnection: Upgrade\r\nupgrade: websocket\r\n"
        writing.write(f"{head}sec-websocket-version: 13\r\nsec-websocket-key: {key}\r\n\r\n".encode())
        assert (await asyncio.wait_for(reading.readuntil(b"\r\n\r\n"), 30)).startswith(b"HTTP/1.1 400 ")
        writing.close()
    finally:
        await server.stop(grace_s=1)
