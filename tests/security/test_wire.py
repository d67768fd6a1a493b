"""What a function can do with the shim's own socket: forge, flood and answer for others. The host's checks stop it."""

import asyncio
import json
import time
from typing import Any

import msgspec
import pytest
from tests.support.jails import jail_only

from sesame.sandbox import wire
from sesame.sandbox.interface import Call, Reply, SandboxDied

pytestmark = [jail_only, pytest.mark.asyncio(loop_scope="module")]


async def broken_off(actor: Any, event: dict[str, Any], **more: Any) -> None:
    with pytest.raises(SandboxDied) as died:
        await actor.invoke(json.dumps(event).encode(), **more)
    assert died.value.reason == "protocol"


async def test_an_answer_for_another_request_ends_the_instance(stage: Any) -> None:
    await broken_off(await stage.start("attacks", "index.answers_for_another"), {})


async def test_without_the_look_at_the_id_it_would_be_taken(stage: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    async def trusting(self: Any, call: Call) -> Reply:
        header, payload = await self._ask(msgspec.json.encode({"type": call.kind, "id": "x", "meta": call.meta}), b"")
        return Reply(header.ok, payload, header.http)

    actor = await stage.start("attacks", "index.answers_for_another")
    monkeypatch.setattr(wire.Channel, "call", trusting)
    assert (await actor.invoke()).payload == b"forged"


async def test_an_answer_before_the_question_ends_the_instance(stage: Any) -> None:
    actor = await stage.start("attacks", "index.answers_unasked")
    assert (await actor.invoke(b'{"next": "req-2"}')).payload == b"real"
    async with asyncio.timeout(5):
        await actor.died.wait()
    with pytest.raises(SandboxDied):
        await actor.invoke(b"{}", request_id="req-2")


async def test_without_that_rule_it_would_be_the_next_ones_answer(stage: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    early: list[tuple[bytes, bytes]] = []
    on_frame, ask = wire.Channel._on_frame, wire.Channel._ask

    def keeping(self: Any, head: bytes, payload: bytes) -> None:
        early.append((head, payload)) if self._answer is None else on_frame(self, head, payload)

    async def asking(self: Any, head: bytes, payload: bytes) -> Any:
        if early:
            asyncio.get_running_loop().call_soon(on_frame, self, *early.pop())
        return await ask(self, head, payload)

    monkeypatch.setattr(wire.Channel, "_on_frame", keeping)
    monkeypatch.setattr(wire.Channel, "_ask", asking)
    actor = await stage.start("attacks", "index.answers_unasked")
    monkeypatch.setattr(
        actor.sandbox._channel._protocol, "_on_frame", lambda *frame: keeping(actor.sandbox._channel, *frame)
    )
    assert (await actor.invoke(b'{"next": "req-2"}')).payload == b"real"
    async with asyncio.timeout(5):
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

    actor.sandbox._channel._output._on_output = swallow
    assert (await actor.invoke(b'{"mb": 100}')).payload == b"true"
    assert seen == 100 << 20


async def drained(stage: Any, *, bound: int | None) -> int:
    """How much one look at the end of a call takes from a function that never stops writing."""
    actor = await stage.start("attacks", "index.writes_on")
    output = actor.sandbox._channel._output
    actor.sandbox._channel._loop.remove_reader(output._fd)
    seen = 0

    def slowly(data: bytes) -> None:
        nonlocal seen
        seen += len(data)
        refilled()

    def refilled() -> None:
        """Returns when the function has filled the pipe again, which takes it a moment."""
        deadline = time.monotonic() + 5
        while output._waiting() < 64 * 1024 and time.monotonic() < deadline:
            time.sleep(0.001)

    output._on_output = slowly
    output._capacity = bound or output._capacity
    assert (await actor.invoke()).payload == b"true"
    refilled()
    seen = 0
    output.drain()
    return seen


async def test_who_never_stops_writing_does_not_hold_the_host_up(stage: Any) -> None:
    assert await drained(stage, bound=None) <= 128 * 1024


async def test_without_that_bound_the_host_would_read_on(stage: Any) -> None:
    assert await drained(stage, bound=4 << 20) >= 2 << 20
