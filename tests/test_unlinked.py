"""A node that has no writer at its start: callers wait, are then told so, and are served once there is one."""

import asyncio
import json
import socket

import pytest

from sesame._unlinked import linked
from sesame.fc.unlinked import TEXT
from sesame.http.limits import Limits
from sesame.model.clocks import SYSTEM_CLOCKS

PATIENCE_S = 60.0


@pytest.mark.parametrize(
    ("path", "code", "message"),
    [
        ("/2016-08-15/services", "ErrorCode", "ErrorMessage"),
        ("/2023-03-30/functions", "Code", "Message"),
        ("/else", "ErrorCode", "ErrorMessage"),
    ],
)
async def test_without_a_writer_each_request_is_told_so_in_its_versions_form(
    path: str, code: str, message: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.setblocking(False)
        address, followed = listening.getsockname(), asyncio.Event()

        async def until_followed() -> None:
            await followed.wait()

        waits = asyncio.create_task(linked(until_followed, listening.fileno(), 0.0, Limits(), SYSTEM_CLOCKS))
        async with asyncio.timeout(PATIENCE_S):
            reader, writer = await asyncio.open_connection(*address)
            writer.write(f"GET {path} HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n".encode())
            head, _blank, body = (await reader.read()).partition(b"\r\n\r\n")
            writer.close()
            assert head.startswith(b"HTTP/1.1 503 ")
            assert (json.loads(body)[code], json.loads(body)[message]) == ("ServiceUnavailable", TEXT)
            assert not waits.done()
            followed.set()
            await waits
        # What listens is there for the endpoint that is served from now on.
        with socket.create_connection(address):
            async with asyncio.timeout(PATIENCE_S):
                await asyncio.get_running_loop().sock_accept(listening)


async def test_where_a_writer_comes_in_time_whoever_connected_is_left_to_what_is_served_then() -> None:
    async def at_once() -> None:
        return

    with socket.create_server(("127.0.0.1", 0)) as listening, socket.create_connection(listening.getsockname()):
        await linked(at_once, listening.fileno(), PATIENCE_S, Limits(), SYSTEM_CLOCKS)
        listening.accept()[0].close()
