"""Sesame and its process for mounted buckets: a mount that does not end, a process that is busy or answers no more.

Run by pytest. The test plays the process; the mount's connection with the kernel is a pair of sockets.
"""

import asyncio
import os
import socket
import struct
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from sesame.model.bucket_mount import BucketMount
from sesame.model.invocation import Credentials
from sesame.sandbox.buckets import protocol, server
from sesame.sandbox.buckets.connection import Connection
from sesame.sandbox.buckets.fuse import HEADER_BYTES, Opcode, Owner
from sesame.sandbox.buckets.server import BucketServer, ServedBucket
from sesame.sandbox.network import HostAnswers

PATIENCE_S = 60.0
KEYS = Credentials("id", "secret", "token")
SHORT_S = 0.02
# More than the kernel keeps of what a process does not read.
MANY = 5000


class Process:
    """In place of the process: reads only when it is told to."""

    def __init__(self) -> None:
        self.killed = False
        self.near, self.far = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.near.setblocking(False)
        self.far.setblocking(False)

    def kill(self) -> None:
        self.killed = True

    def wait(self, _timeout_s: float | None = None) -> int:
        return -9

    async def heard(self) -> dict[str, Any]:
        """The next message."""
        async with asyncio.timeout(PATIENCE_S):
            while True:
                try:
                    received = protocol.receive(self.far)
                except BlockingIOError:
                    await asyncio.sleep(0.001)
                    continue
                assert received is not None
                message, fds = received
                for fd in fds:
                    os.close(fd)
                return message

    def say(self, kind: str, **fields: Any) -> None:
        self.far.send(protocol.encode({"kind": kind, **fields}))


class PlayedServer(BucketServer):
    def __init__(self, drafts: Path, answers: HostAnswers, process: Process) -> None:
        super().__init__(drafts, answers)
        self._played = process

    @property
    def asks(self) -> bool:
        """Whether the process is asked for a sign of life, and has given none."""
        return self._asked is not None

    def _start(self) -> None:
        self._socket, self._process = self._played.near, self._played  # type: ignore[assignment]
        asyncio.get_running_loop().add_reader(self._socket, self._heed)


@pytest.fixture
async def process() -> AsyncIterator[Process]:
    made = Process()
    yield made
    made.far.close()


@pytest.fixture
async def buckets(tmp_path: Path, process: Process) -> AsyncIterator[PlayedServer]:
    answers = HostAnswers()
    answers.offer_object_storage(lambda _connection, _client: None)
    answers.offered()
    made = PlayedServer(tmp_path, answers, process)
    yield made
    await made.close()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "ENDED_TIMEOUT_S", SHORT_S)
    monkeypatch.setattr(server, "LOOK_S", SHORT_S)


async def served(buckets: PlayedServer, process: Process, lost: Callable[[], None]) -> ServedBucket:
    device = os.open(os.devnull, os.O_RDWR)
    mount = BucketMount(bucket="b", prefix="", mount_dir="/mnt/oss", read_only=False)
    serving = asyncio.create_task(buckets.serve(mount, KEYS, Owner(1, 1), device, lost))
    asked = await process.heard()
    assert asked["kind"] == protocol.SERVE
    process.say(protocol.SERVED, mount=asked["mount"], problem="")
    try:
        return await asyncio.wait_for(serving, PATIENCE_S)
    finally:
        os.close(device)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not condition():  # noqa: ASYNC110 (some conditions are the kernel's)
            await asyncio.sleep(0.001)


@pytest.mark.usefixtures("impatient")
async def test_a_mount_that_does_not_end_takes_no_other_with_it(buckets: PlayedServer, process: Process) -> None:
    lost: list[str] = []
    stuck = await served(buckets, process, lambda: lost.append("stuck"))
    other = await served(buckets, process, lambda: lost.append("other"))
    stuck.end()
    assert [(await process.heard())["kind"] for _ in range(2)] == [protocol.END, protocol.PING]
    process.say(protocol.PONG)
    await until(lambda: not buckets.asks)
    other.use(Credentials("newer", "secret", "token"))
    assert (await process.heard())["keys"][0] == "newer"
    assert (lost, process.killed) == ([], False)
    # It is asked again with the next one that is late.
    other.end()
    assert [(await process.heard())["kind"] for _ in range(2)] == [protocol.END, protocol.PING]


@pytest.mark.usefixtures("impatient")
async def test_a_process_that_answers_nothing_is_ended(buckets: PlayedServer, process: Process) -> None:
    lost: list[str] = []
    ended = await served(buckets, process, lambda: lost.append("ended"))
    await served(buckets, process, lambda: lost.append("other"))
    ended.end()
    await until(lambda: process.killed)
    assert lost == ["other"]


async def test_a_process_that_is_busy_hears_everything_in_turn(buckets: PlayedServer, process: Process) -> None:
    lost: list[str] = []
    mount = await served(buckets, process, lambda: lost.append("lost"))
    for number in range(MANY):
        mount.use(Credentials(str(number), "secret", "token"))
    heard: list[str] = []
    while len(heard) < MANY:
        message = await process.heard()
        if message["kind"] == protocol.PING:
            process.say(protocol.PONG)
        else:
            heard.append(message["keys"][0])
    assert heard == [str(number) for number in range(MANY)]
    assert (lost, process.killed) == ([], False)


class PlayedConnection(Connection):
    @property
    def writes(self) -> bool:
        return self._writing > 0


class Files:
    """In place of `BucketFiles`."""

    def run(self, _request: object) -> bytes:
        return b"answered"

    def close(self) -> None:
        pass


async def test_a_mount_whose_answer_the_kernel_does_not_take_holds_nobody_up() -> None:
    kernel, device = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ended = asyncio.Event()
    fd = device.detach()
    connection = PlayedConnection(fd, Files(), lambda: None, lambda _text: None, ended.set)  # type: ignore[arg-type]
    connection.start()
    filled = 0
    while True:
        try:
            os.write(fd, b"x" * 4096)
        except BlockingIOError:
            break
        filled += 1
    os.set_blocking(fd, True)
    kernel.send(struct.pack("=IIQQIIIHH", HEADER_BYTES, Opcode.GETATTR, 7, 1, 0, 0, 0, 0, 0))
    await until(lambda: connection.writes)
    connection.close()
    assert not ended.is_set()
    kernel.setblocking(False)
    loop = asyncio.get_running_loop()
    for _ in range(filled):
        await loop.sock_recv(kernel, 8192)
    assert b"answered" in await asyncio.wait_for(loop.sock_recv(kernel, 8192), PATIENCE_S)
    await asyncio.wait_for(ended.wait(), PATIENCE_S)
    kernel.close()
