"""What a function can do with the shim's own socket: forge, flood and answer for others. The host's checks stop it."""

import asyncio
import contextlib
import fcntl
import json
import os
import socket
import struct
import termios
import threading
import time
from array import array
from collections.abc import AsyncIterator
from typing import Any

import psutil
import pytest
from tests.support.jails import jail_only
from tests.support.open_files import descriptors

from sesame.sandbox import wire
from sesame.sandbox.interface import Call, KillReason, Reply, SandboxDied
from sesame.sandbox.memory import tree

pytestmark = [jail_only, pytest.mark.asyncio(loop_scope="module")]


async def broken_off(actor: Any, event: dict[str, Any], **more: Any) -> None:
    with pytest.raises(SandboxDied) as died:
        await actor.invoke(json.dumps(event).encode(), **more)
    assert died.value.reason == "protocol"


async def test_an_answer_for_another_request_ends_the_instance(stage: Any) -> None:
    await broken_off(await stage.start("attacks", "index.answers_for_another"), {})


async def test_without_the_check_of_the_id_it_would_be_taken(stage: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire.Channel, "checks_ids", False)
    actor = await stage.start("attacks", "index.answers_for_another")
    assert (await actor.invoke()).payload == b"forged"


async def test_an_answer_before_the_question_ends_the_instance(stage: Any) -> None:
    actor = await stage.start("attacks", "index.answers_unasked")
    assert (await actor.invoke(b'{"next": "req-2"}')).payload == b"real"
    async with asyncio.timeout(30):
        await actor.died.wait()
    with pytest.raises(SandboxDied):
        await actor.invoke(b"{}", request_id="req-2")


async def test_without_that_rule_it_would_be_the_answer_to_the_next_call(
    stage: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    early: list[tuple[bytes, bytes]] = []
    call = wire.Channel.call

    def keep(_channel: wire.Channel, head: bytes, payload: bytes) -> None:
        early.append((head, payload))

    async def take_early(channel: wire.Channel, asked: Call) -> Reply:
        if early:
            asyncio.get_running_loop().call_soon(channel.on_frame, *early.pop())
        return await call(channel, asked)

    monkeypatch.setattr(wire.Channel, "on_unasked", keep)
    monkeypatch.setattr(wire.Channel, "call", take_early)
    actor = await stage.start("attacks", "index.answers_unasked")
    assert (await actor.invoke(b'{"next": "req-2"}')).payload == b"real"
    async with asyncio.timeout(30):
        while not early:  # noqa: ASYNC110 (the function does it)
            await asyncio.sleep(0.01)
    assert (await actor.invoke(b'{"next": "-"}', request_id="req-2")).payload == b"forged"


async def test_a_frame_that_is_too_large_ends_the_instance_unread(stage: Any) -> None:
    await broken_off(await stage.start("attacks", "index.sends_huge_frame"), {"mb": 60})


async def test_without_the_limit_the_host_would_take_it(stage: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "MAX_FRAME_BYTES", 1 << 30)
    actor = await stage.start("attacks", "index.sends_huge_frame")
    assert len((await actor.invoke(b'{"mb": 60}')).payload) == 60 << 20


async def test_garbage_ends_the_instance(stage: Any) -> None:
    await broken_off(await stage.start("attacks", "index.sends_garbage"), {})


async def test_a_flood_of_output_neither_holds_the_result_up_nor_is_kept_by_the_host(stage: Any) -> None:
    actor = await stage.start("attacks", "index.output")
    seen = 0

    def swallow(data: bytes) -> None:
        nonlocal seen
        seen += len(data)
        assert len(data) <= 64 * 1024

    actor.take = swallow
    assert (await actor.invoke(b'{"mb": 100}')).payload == b"true"
    assert seen == 100 << 20


def waiting_in(fd: int) -> int:
    """Bytes in a pipe."""
    count = array("i", [0])
    fcntl.ioctl(fd, termios.FIONREAD, count)
    return count[0]


def drained(*, bound: int | None) -> int:
    """How many bytes one drain takes from a pipe whose other end never stops writing."""
    reading, writing = os.pipe()
    seen = 0

    def write_on() -> None:
        with contextlib.suppress(OSError):
            while True:
                os.write(writing, b"x" * 1048576)

    def take(data: bytes) -> None:
        nonlocal seen
        seen += len(data)
        wait_until_full()

    def wait_until_full() -> None:
        deadline = time.monotonic() + 5
        while waiting_in(reading) < 64 * 1024 and time.monotonic() < deadline:
            time.sleep(0.001)

    output = wire.Output(reading, take)
    output.capacity = bound or output.capacity
    writer = threading.Thread(target=write_on, daemon=True)
    writer.start()
    try:
        wait_until_full()
        output.drain()
        return seen
    finally:
        os.close(reading)
        writer.join(5)
        os.close(writing)


async def test_a_writer_that_never_stops_does_not_hold_up_the_host() -> None:
    assert drained(bound=None) <= 128 * 1024


async def test_without_that_bound_the_host_would_read_on() -> None:
    assert drained(bound=4 << 20) >= 2 << 20


async def test_an_announced_frame_takes_no_memory_before_it_comes() -> None:
    async with contextlib.AsyncExitStack() as channels:
        peers = [await channels.enter_async_context(open_channel()) for _ in range(16)]
        before = resident_mb()
        for peer in peers:
            peer.send(struct.pack(">II", wire.MAX_FRAME_BYTES, 100))
        for _ in range(10):
            await asyncio.sleep(0)
        assert resident_mb() - before < wire.MAX_FRAME_BYTES >> 20


@contextlib.asynccontextmanager
async def open_channel() -> AsyncIterator[socket.socket]:
    """The other end of a channel of the host."""
    ours, theirs = socket.socketpair()
    reading, writing = os.pipe()
    channel = wire.Channel(ours, wire.Output(reading, lambda _data: None), lambda: None)
    await channel.open()
    try:
        yield theirs
    finally:
        channel.close()
        theirs.close()
        os.close(writing)


def resident_mb() -> float:
    return psutil.Process().memory_info().rss / 2**20


async def test_a_slow_frame_holds_up_nobody_and_ends_with_its_call(stage: Any) -> None:
    slow, other = await stage.start("attacks", "index.announces_and_waits"), await stage.start("attacks", "index.core")
    calling = asyncio.create_task(slow.invoke())
    for _ in range(20):
        assert (await other.invoke()).ok
    await ends_in_time(slow, calling)


async def test_descriptors_that_a_function_sends_are_not_taken(stage: Any) -> None:
    actor = await stage.start("attacks", "index.sends_descriptors")
    before = descriptors().count("/dev/null")
    assert (await actor.invoke()).payload == b"sent"
    assert descriptors().count("/dev/null") <= before


async def test_if_the_host_asked_for_them_it_would_have_them(stage: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    if stage.py2:
        # It has no call that sends any.
        return
    took: list[int] = []

    def recv_into(receiving: socket.socket, buffer: Any, *_size: int) -> int:
        size, beside, _flags, _sender = receiving.recvmsg_into([buffer], socket.CMSG_SPACE(4 * 32))
        for _level, _kind, data in beside:
            took.extend(struct.unpack(f"={len(data) // 4}i", data))
        return size

    actor = await stage.start("attacks", "index.sends_descriptors")
    monkeypatch.setattr(socket.socket, "recv_into", recv_into)
    try:
        assert (await actor.invoke()).payload == b"sent"
        assert len(took) >= 32
    finally:
        for descriptor in took:
            os.close(descriptor)


async def test_a_byte_beside_the_stream_changes_nothing(stage: Any) -> None:
    actor = await stage.start("attacks", "index.sends_out_of_band")
    assert (await actor.invoke()).payload == b"real"


@pytest.mark.parametrize("event", [{}, {"lists": True}])
async def test_a_head_deeper_than_any_stack_ends_the_instance(stage: Any, event: dict[str, Any]) -> None:
    await broken_off(await stage.start("attacks", "index.sends_deep_head"), event)


async def test_a_function_that_stops_itself_ends_with_its_call(stage: Any, until: Any) -> None:
    actor = await stage.start("attacks", "index.stops_itself")
    calling = asyncio.create_task(actor.invoke())
    await until(lambda: stopped(actor.sandbox.init_pid), "it has stopped itself")
    await ends_in_time(actor, calling)


async def test_a_chain_of_forks_ends_with_its_instance(stage: Any) -> None:
    actor = await stage.start("attacks", "index.fork_chain")
    assert (await actor.invoke(b"{}")).ok
    await actor.sandbox.kill(KillReason.TIMEOUT)
    assert not psutil.pid_exists(actor.sandbox.init_pid)


def stopped(init: int) -> bool:
    """Whether one of its processes is; others may end meanwhile."""
    return any(is_stopped(pid) for pid in tree(init)[1:])


def is_stopped(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() == psutil.STATUS_STOPPED)
    except psutil.NoSuchProcess:
        return False


async def ends_in_time(actor: Any, calling: asyncio.Task[Reply]) -> None:
    """As when the time of a call has passed."""
    async with asyncio.timeout(30):
        await actor.sandbox.kill(KillReason.TIMEOUT)
        with pytest.raises(SandboxDied):
            await calling
