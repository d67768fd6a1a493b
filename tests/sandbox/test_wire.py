"""The wire from both ends (docs/wire-protocol.md): any frame, any chunking, and what a peer may not do."""

import asyncio
import importlib.util
import itertools
import json
import os
import socket
import struct
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import uvloop
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.support.examples import examples

from sesame.sandbox.interface import Call, SandboxDied
from sesame.sandbox.shim import SHIM
from sesame.sandbox.wire import MAX_FRAME_BYTES, Channel, Output, _Frames

_spec = importlib.util.spec_from_file_location("shim_wire", SHIM / "python" / "wire.py")
assert _spec is not None
assert _spec.loader is not None
shim = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(shim)

LOOPS: list[Callable[[], asyncio.AbstractEventLoop]] = [asyncio.new_event_loop, uvloop.new_event_loop]
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
HEADERS = st.dictionaries(TEXT, st.none() | st.booleans() | st.integers(-(2**53), 2**53) | TEXT, max_size=5)
FRAMES = st.lists(st.tuples(HEADERS, st.binary(max_size=200)), min_size=1, max_size=5)


def frame(header: Any, payload: bytes = b"") -> bytes:
    head = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack(">II", 4 + len(head) + len(payload), len(head)) + head + payload


def chunks(data: bytes, cuts: list[int]) -> list[bytes]:
    places = sorted({cut % (len(data) + 1) for cut in cuts} | {0, len(data)})
    return [data[a:b] for a, b in itertools.pairwise(places)]


class Sink:
    """A host's protocol without a loop."""

    def __init__(self) -> None:
        self.frames: list[tuple[bytes, bytes]] = []
        self.lost: list[str] = []
        self.aborted = False
        self.protocol = _Frames(lambda head, payload: self.frames.append((head, payload)), self.lost.append)

    def feed(self, data: bytes) -> None:
        while data and not self.lost:
            room = self.protocol.get_buffer(-1)
            taken = data[: len(room)]
            room[: len(taken)] = taken
            data = data[len(taken) :]
            self.protocol.buffer_updated(len(taken))


@given(FRAMES, st.lists(st.integers(0, 10**6), max_size=20))
def test_the_host_reads_frames_however_they_are_cut(
    frames: list[tuple[dict[str, Any], bytes]], cuts: list[int]
) -> None:
    sink = Sink()
    sink.protocol.connection_made(asyncio.Transport())
    for chunk in chunks(b"".join(frame(head, payload) for head, payload in frames), cuts):
        sink.feed(chunk)
    assert [(json.loads(head), payload) for head, payload in sink.frames] == frames
    assert sink.lost == []


@given(st.integers(60_000, 70_000), st.integers(0, 70_000))
@settings(max_examples=30)
def test_the_host_reads_frames_around_the_size_of_its_buffer(size: int, cut: int) -> None:
    sink = Sink()
    sink.protocol.connection_made(asyncio.Transport())
    for chunk in chunks(frame({}, b"a" * size) + frame({}, b"next"), [cut]):
        sink.feed(chunk)
    assert [(len(payload)) for _, payload in sink.frames] == [size, 4]


@settings(max_examples=examples(100))
@given(st.binary(max_size=300))
def test_the_host_survives_garbage(data: bytes) -> None:
    sink = Sink()
    sink.protocol.connection_made(asyncio.BaseTransport())
    sink.feed(data)
    declared = struct.unpack(">II", data[:8]) if len(data) >= 8 else (4, 0)
    broken = declared[0] > MAX_FRAME_BYTES or declared[1] > 2**20 or declared[1] + 4 > declared[0]
    assert bool(sink.lost) >= broken


@given(FRAMES, st.lists(st.integers(0, 10**6), max_size=10))
@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_the_shim_reads_frames_however_they_are_cut(
    frames: list[tuple[dict[str, Any], bytes]], cuts: list[int]
) -> None:
    class Trickle:
        def __init__(self) -> None:
            self.left = chunks(b"".join(frame(head, payload) for head, payload in frames), cuts)

        def recv(self, size: int) -> bytes:
            while self.left and not self.left[0]:
                self.left.pop(0)
            if not self.left:
                return b""
            data, self.left[0] = self.left[0][:size], self.left[0][size:]
            return data

        def recv_into(self, room: memoryview) -> int:
            data = self.recv(len(room))
            room[: len(data)] = data
            return len(data)

    connection = shim.Connection(Trickle())
    assert [connection.receive() for _ in frames] == frames
    with pytest.raises(shim.EndOfStream):
        connection.receive()


@given(st.binary(min_size=8, max_size=100))
def test_the_shim_refuses_garbage(data: bytes) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.sendall(data)
        ours.shutdown(socket.SHUT_WR)
        try:
            header, _payload = shim.Connection(theirs).receive()
        except (shim.ProtocolError, shim.EndOfStream):
            header = {}
        assert isinstance(header, dict)


@given(HEADERS, st.binary(max_size=100_000))
@settings(max_examples=30, deadline=None)
def test_the_shim_writes_what_the_host_reads(header: dict[str, Any], payload: bytes) -> None:
    ours, theirs = socket.socketpair()
    sink = Sink()
    sink.protocol.connection_made(asyncio.Transport())
    with ours, theirs:
        sender = threading.Thread(target=shim.Connection(theirs).send, args=(header, payload))
        sender.start()
        while not sink.frames:
            sink.feed(ours.recv(65536))
        sender.join()
    assert [(json.loads(head), body) for head, body in sink.frames] == [(header, payload)]


def run(loop: Callable[[], asyncio.AbstractEventLoop], play: Callable[[], Any]) -> None:
    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(asyncio.wait_for(play(), 30))


class Peer:
    """The other end of a channel, played by the test."""

    def __init__(self) -> None:
        self.host, self.sock = socket.socketpair()
        self.reading, self.writing = os.pipe()
        self.sock.setblocking(False)
        self.output = bytearray()
        self.ends = 0

    async def take(self) -> tuple[dict[str, Any], bytes]:
        loop = asyncio.get_running_loop()
        data = b""
        while len(data) < 8 or len(data) < 4 + struct.unpack(">I", data[:4])[0]:
            data += await loop.sock_recv(self.sock, 2**20)
        size = struct.unpack(">I", data[4:8])[0]
        return json.loads(data[8 : 8 + size]), data[8 + size :]

    async def say(self, data: bytes) -> None:
        await asyncio.get_running_loop().sock_sendall(self.sock, data)

    def on_end(self) -> None:
        self.ends += 1


@asynccontextmanager
async def conversation() -> AsyncIterator[tuple[Channel, Peer]]:
    peer = Peer()
    channel = Channel(peer.host, Output(peer.reading, peer.output.extend), peer.on_end)
    await channel.open()
    yield channel, peer
    channel.close()
    peer.sock.close()
    if peer.writing >= 0:
        os.close(peer.writing)


CALL = Call("invoke", "r1", {"a": 1}, b"event")
RESULT = {"type": "result", "id": "r1", "ok": True}


@pytest.mark.parametrize("loop", LOOPS)
def test_a_call_and_its_reply(loop: Any) -> None:
    async def play() -> None:
        async with conversation() as (channel, peer):
            ready = asyncio.create_task(channel.setup({"runtime": "python3"}))
            assert await peer.take() == ({"runtime": "python3", "type": "setup"}, b"")
            await peer.say(frame({"type": "ready", "python": "3.6.15"}))
            assert await ready == "3.6.15"
            for size in (0, 100, 100_000, 6 * 2**20):
                payload = os.urandom(size)
                call = asyncio.create_task(channel.call(Call("invoke", "r1", {"a": 1}, payload)))
                header, taken = await peer.take()
                assert ({"meta": {"a": 1}, **header}, taken) == (
                    {"type": "invoke", "id": "r1", "meta": {"a": 1}},
                    payload,
                )
                await peer.say(frame({**RESULT, "http": {"status": 200}}, payload))
                reply = await call
                assert (reply.ok, reply.payload, reply.http) == (True, payload, {"status": 200})
            assert peer.ends == 0

    run(loop, play)


@pytest.mark.parametrize("loop", LOOPS)
def test_the_meta_of_a_call_is_sent_when_it_differs_from_the_last_one_s(loop: Any) -> None:
    async def play() -> None:
        async with conversation() as (channel, peer):
            sent = []
            for meta in ({"a": 1}, {"a": 1}, {"a": 2}, {}, {}):
                call = asyncio.create_task(channel.call(Call("invoke", "r1", meta)))
                sent.append((await peer.take())[0].get("meta"))
                await peer.say(frame(RESULT))
                await call
            assert sent == [{"a": 1}, None, {"a": 2}, {}, None]

    run(loop, play)


@pytest.mark.parametrize("loop", LOOPS)
def test_output_written_before_the_result_is_there_first(loop: Any) -> None:
    async def play() -> None:
        async with conversation() as (channel, peer):
            for number in range(1, 50):
                call = asyncio.create_task(channel.call(CALL))
                await peer.take()
                os.write(peer.writing, b"x" * 60_000)
                peer.sock.send(frame(RESULT))
                await call
                assert len(peer.output) == number * 60_000

    run(loop, play)


ANSWERS = {
    "another request": frame({"type": "result", "id": "r2", "ok": True}),
    "another type": frame({"type": "ready", "python": "3"}),
    "no object": frame(b"[1]"),
    "no JSON": frame(b"{nothing"),
    "JSON nested without end": frame(b'{"httpParams":' * 5000),
    "no UTF-8": frame(b'{"type": "\xff"}'),
    "wrong types": frame({"type": 1, "id": [], "ok": "yes"}),
    "too large": struct.pack(">II", 33 * 2**20 + 1, 10),
    "header too large": struct.pack(">II", 3 * 2**20, 2**20 + 1),
    "header longer than its frame": struct.pack(">II", 10, 7),
    "size of nothing": struct.pack(">II", 0, 0),
}


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS.keys())
def test_a_peer_that_breaks_the_protocol_is_disconnected(loop: Any, answer: bytes) -> None:
    async def play() -> None:
        async with conversation() as (channel, peer):
            call = asyncio.create_task(channel.call(CALL))
            await peer.take()
            os.write(peer.writing, b"last words")
            await peer.say(answer)
            with pytest.raises(SandboxDied) as died:
                await call
            assert died.value.reason == "protocol"
            assert peer.output == b"last words"
            assert peer.ends == 1
            with pytest.raises(SandboxDied):
                await channel.call(CALL)

    run(loop, play)


@pytest.mark.parametrize("loop", LOOPS)
def test_an_unrequested_answer_ends_the_channel(loop: Any) -> None:
    async def play() -> None:
        async with conversation() as (channel, peer):
            await peer.say(frame(RESULT))
            while not peer.ends:  # noqa: ASYNC110 (the peer has nobody to set an event)
                await asyncio.sleep(0)
            assert channel.ended is not None
            assert channel.ended.reason == "protocol"

    run(loop, play)


@pytest.mark.parametrize("loop", LOOPS)
def test_a_second_answer_ends_the_channel_but_not_the_first_call(loop: Any) -> None:
    async def play() -> None:
        async with conversation() as (channel, peer):
            call = asyncio.create_task(channel.call(CALL))
            await peer.take()
            await peer.say(frame(RESULT, b"first") + frame(RESULT, b"second"))
            assert (await call).payload == b"first"
            with pytest.raises(SandboxDied):
                await channel.call(CALL)
            assert peer.ends == 1

    run(loop, play)


@pytest.mark.parametrize("loop", LOOPS)
def test_the_end_of_the_peer(loop: Any) -> None:
    async def play() -> None:
        async with conversation() as (channel, peer):
            call = asyncio.create_task(channel.call(CALL))
            await peer.take()
            os.write(peer.writing, b"last words")
            peer.sock.close()
            with pytest.raises(SandboxDied) as died:
                await call
            assert died.value.reason == "exit"
            assert (peer.output, peer.ends) == (b"last words", 1)

    run(loop, play)


@pytest.mark.parametrize("loop", LOOPS)
def test_hanging_up_shuts_the_sending_half_only(loop: Any) -> None:
    async def play() -> None:
        async with conversation() as (channel, peer):
            call = asyncio.create_task(channel.call(CALL))
            await peer.take()
            channel.hang_up()
            assert await asyncio.get_running_loop().sock_recv(peer.sock, 10) == b""
            await peer.say(frame(RESULT, b"in time"))
            assert (await call).payload == b"in time"

    run(loop, play)


@pytest.mark.parametrize("loop", LOOPS)
def test_a_call_over_the_limit_is_refused_before_it_is_sent(loop: Any) -> None:
    async def play() -> None:
        async with conversation() as (channel, peer):
            with pytest.raises(ValueError, match="over the limit"):
                await channel.call(Call("invoke", "r1", {}, bytes(33 * 2**20)))
            call = asyncio.create_task(channel.call(CALL))
            await peer.take()
            await peer.say(frame(RESULT, b"fine"))
            assert (await call).payload == b"fine"

    run(loop, play)


@pytest.mark.parametrize("loop", LOOPS)
def test_closing_passes_on_remaining_output_and_frees_the_descriptors(loop: Any) -> None:
    async def play() -> None:
        async with conversation() as (channel, peer):
            os.write(peer.writing, b"left over")
            channel.close()
            channel.close()
            assert peer.output == b"left over"
            with pytest.raises(OSError):
                os.fstat(peer.reading)

    run(loop, play)
