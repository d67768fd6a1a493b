"""Frames between processes: a shim's to the host, the host's to a shim, agents' to each other, a terminal's messages.

The first byte of an input says which reader gets the rest; the second how the rest is cut into pieces.
"""

import asyncio
import contextlib
import json
import os
import socket
import struct
from collections.abc import Iterator

import msgspec
from tests.sandbox.test_wire import ANSWERS, Sink, shim
from tests.support.fuzzing import Kind, Try

from sesame.agents import messages
from sesame.agents.link import Garbled, framed, unframed
from sesame.fc.exec.frames import EndOfInput, Input, Resize, received, to_send
from sesame.sandbox.interface import Call, ProgramFailed, Reply, SandboxDied
from sesame.sandbox.wire import Channel, Output

CALL = Call("invoke", "r1", {"a": 1}, b"event")


def frame(header: object, payload: bytes = b"") -> bytes:
    head = json.dumps(header).encode()
    return struct.pack(">II", 4 + len(head) + len(payload), len(head)) + head + payload


def pieces(data: bytes, step: int) -> list[bytes]:
    return [data[at : at + (step or len(data))] for at in range(0, len(data), step or len(data))] if data else []


class _ByShim:
    """A shim's socket that gives these pieces, then its end."""

    def __init__(self, data: list[bytes]) -> None:
        self._left = data

    def recv(self, size: int) -> bytes:
        if not self._left:
            return b""
        given, self._left[0] = self._left[0][:size], self._left[0][size:]
        if not self._left[0]:
            del self._left[0]
        return given

    def recv_into(self, room: memoryview) -> int:
        data = self.recv(len(room))
        room[: len(data)] = data
        return len(data)


class Host:
    """A channel on a loop that runs only while an input is tried."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop

    def take(self, data: list[bytes], *, calls: bool) -> None:
        self._loop.run_until_complete(self._talk(data, calls=calls))

    async def _talk(self, data: list[bytes], *, calls: bool) -> None:
        ours, theirs = socket.socketpair()
        reading, writing = os.pipe()
        ends: list[None] = []
        channel = Channel(ours, Output(reading, lambda _data: None), lambda: ends.append(None))
        await channel.open()
        asking = asyncio.create_task(channel.call(CALL) if calls else channel.setup({"runtime": "python3"}))
        await asyncio.sleep(0)
        theirs.setblocking(False)
        for piece in data:
            with contextlib.suppress(OSError):
                # The kernel takes what an input has, unless the channel has ended before.
                theirs.send(piece)
            await asyncio.sleep(0)
        theirs.close()
        with contextlib.suppress(SandboxDied, ProgramFailed):
            answer = await asking
            assert isinstance(answer, Reply if calls else str)
        channel.close()
        os.close(writing)
        assert len(ends) == 1, "the end of a channel is told once"


def read_by_frames(data: list[bytes]) -> None:
    sink = Sink()
    sink.protocol.connection_made(asyncio.BaseTransport())
    for piece in data:
        sink.feed(piece)


def read_by_shim(data: list[bytes]) -> None:
    connection = shim.Connection(_ByShim(data))
    with contextlib.suppress(shim.ProtocolError, shim.EndOfStream):
        while True:
            header, payload = connection.receive()
            assert isinstance(header, dict)
            assert isinstance(payload, bytes | bytearray | memoryview)


def read_by_agent(data: list[bytes]) -> None:
    unread = bytearray()
    with contextlib.suppress(Garbled):
        for piece in data:
            unread += piece
            for message, fds in unframed(unread):
                assert isinstance(message, msgspec.Struct)
                assert 0 <= fds <= 255


def read_by_terminal(data: list[bytes]) -> None:
    for piece in data:
        for tty in (True, False):
            meant = received(piece, tty=tty)
            assert isinstance(meant, Input | Resize | EndOfInput)
        assert to_send(piece[0] % 6, piece[1:])


@contextlib.contextmanager
def opened() -> Iterator[Try]:
    with asyncio.Runner() as runner:
        host = Host(runner.get_loop())

        def take(data: bytes) -> None:
            if len(data) < 2:
                return
            cut = pieces(data[2:], data[1])
            match data[0] % 6:
                case 0:
                    host.take(cut, calls=True)
                case 1:
                    host.take(cut, calls=False)
                case 2:
                    read_by_frames(cut)
                case 3:
                    read_by_shim(cut)
                case 4:
                    read_by_agent(cut)
                case _:
                    read_by_terminal(cut)

        yield take


RESULT = {"type": "result", "id": "r1", "ok": True, "http": {"status": 200, "headers": [["a", "b"]]}, "trace": "t"}
HOSTS = [
    frame(RESULT, b"payload"),
    frame({"type": "ready", "python": "3.12.1"}),
    frame({"type": "failed", "why": "no_port", "text": "nothing listens"}),
    frame(RESULT, b"x" * 70_000),
    *ANSWERS.values(),
]
SHIMS = [frame({"type": "invoke", "id": "r1", "meta": {"a": [1, None, "ü"]}}, b"event") + frame({"type": "setup"})]
AGENTS = [
    framed(messages.Peer(3, held=True), 1),
    framed(messages.Ready(), 0) + framed(messages.Stop(), 0),
    framed(messages.Hello(2, ()), 0),
]
TERMINALS = [b"\x00ls\n", b'\x04{"Width": 80, "Height": 24}', b'\x04{"cols": 80, "rows": 24}', b"\x04", b"text"]

KIND = Kind(
    seeds=[
        *(bytes((way, 0)) + seed for way in (0, 1, 2) for seed in HOSTS),
        *(b"\x03\x00" + seed for seed in SHIMS),
        *(b"\x04\x00" + seed for seed in AGENTS),
        *(b"\x05\x00" + seed for seed in TERMINALS),
    ],
    words=[
        b'"type"', b'"result"', b'"ready"', b'"failed"', b'"id"', b'"ok"', b'"http"', b'"trace"', b'"why"', b'"text"',
        b"true", b"null", b"[]", b"{}", b'"r1"', b"\x00\x00\x00\x08", b"\x00\x00\x00\x04", b"\x02\x10\x00\x01",
        b"\x7f\xff\xff\xff", b"\x91\xa5Ready",
        b"\xdf\xff\xff\xff\xff", b"\xc9\xff\xff\xff\xff", b"\xdd\x7f\xff\xff\xff",
    ],
    opened=opened,
)  # fmt: skip
