"""A websocket to a function, against a server that a test plays: what it may not send, and one that does not close."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from tests.runtime.conftest import meta, setup
from tests.sandbox.test_web_connection import Serve, connected

from sesame.sandbox.interface import Call, Reply
from sesame.sandbox.web import messages
from sesame.sandbox.web.connection import BUFFERED_BYTES_MAX
from sesame.sandbox.web.heads import Heads

SWITCH = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"


class Caller:
    """A caller of a websocket that says nothing, or `leaves`. As `model.stream.Stream` and `Messages` in one."""

    method, target, headers, length = "GET", b"/", (), 0

    def __init__(self, *, leaves: bool) -> None:
        self._leaves = leaves
        self.heard: list[str | bytes] = []
        self.closed: int | None = None

    @property
    def messages(self) -> "Caller":
        return self

    def accept(self, headers: Sequence[tuple[bytes, bytes]]) -> None:
        assert not headers

    async def receive(self) -> str | bytes | None:
        if not self._leaves:
            await asyncio.get_running_loop().create_future()
        return None

    async def send(self, message: str | bytes) -> None:
        self.heard.append(message)

    async def close(self, code: int, _reason: str) -> None:
        self.closed = code


async def talked(serve: Serve, *, leaves: bool = False) -> tuple[Caller, Reply]:
    caller: Any = Caller(leaves=leaves)
    async with connected(serve) as connection:
        call = Call("invoke", "r-1", meta(), stream=caller)
        return caller, await messages.pass_messages(connection, Heads(setup(), 9000), call, caller)


def sending(frames: bytes) -> Serve:
    """Says these frames, and then reads until the other side closes."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(SWITCH + frames)
        while await reader.read(BUFFERED_BYTES_MAX):
            pass

    return serve


@pytest.mark.parametrize(
    ("frames", "code"),
    [
        (b"\x81\x01\xff", 1007),
        # Longer than a message may be, which is known from its head.
        (b"\x82\x7f" + (messages.MESSAGE_BYTES_MAX + 1).to_bytes(8, "big"), 1009),
        # An opcode that does not exist.
        (b"\x83\x00", 1002),
    ],
)
async def test_a_caller_is_told_why_a_websocket_ends(frames: bytes, code: int) -> None:
    caller, reply = await talked(sending(b"\x81\x02ok" + frames))
    assert (caller.heard, caller.closed, reply.ok) == (["ok"], code, True)


async def test_a_function_that_does_not_close_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(messages, "CLOSE_S", 0.01)
    _caller, reply = await talked(sending(b""), leaves=True)
    assert reply.ok
