"""Connections to a function's web server, against a monitor that a test plays."""

import asyncio
import os
import socket

import pytest

from sesame.model.web_server import WebServer
from sesame.sandbox.interface import Call, Reply
from sesame.sandbox.web import channel as module
from sesame.sandbox.web.channel import WebChannel
from sesame.sandbox.wire import Output

REFUSED = b"e"
PATIENCE_S = 10.0


async def test_a_request_that_could_not_be_sent_takes_no_other_ones_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "DEATH_GRACE_S", 0.0)
    ours, theirs = socket.socketpair()
    reading, writing = os.pipe()
    channel = WebChannel(ours, Output(reading, lambda _data: None), lambda: None, WebServer())
    await channel.open()
    _data, (fd,), _flags, _address = socket.recv_fds(theirs, 1, 1)
    monitor = socket.socket(fileno=fd)
    waiting, unsent = set[asyncio.Task[Reply]](), set[asyncio.Task[Reply]]()

    def call() -> "asyncio.Task[Reply]":
        return asyncio.create_task(channel.call(Call("invoke", "r-1", {"http_params": None})))

    async with asyncio.timeout(PATIENCE_S):
        while not unsent:
            # The monitor reads nothing, until its socket is full.
            unsent, waiting = await asyncio.wait({*waiting, *(call() for _ in range(100))}, timeout=0.05)
        monitor.sendall(REFUSED * len(monitor.recv(4096)))
        await asyncio.wait(waiting)
        last = call()
        await asyncio.sleep(0)
        monitor.sendall(REFUSED * len(monitor.recv(4096)))
        assert b"does not accept connections" in (await last).payload
    channel.close()
    monitor.close()
    theirs.close()
    os.close(writing)
