"""The life of a sandbox: its legal moves, its first cause of death, and who hears of its end, without a process."""

import asyncio
from typing import Any

import pytest

from sesame.sandbox.interface import Death, Reply, SandboxDied
from sesame.sandbox.lifecycle import LEGAL_MOVES, START_OUTPUT_BYTES, Lifecycle, StartOutput, State


class Made:
    """A life cycle, and what happened to it."""

    def __init__(self, after_call: Any = None) -> None:
        self.causes: list[SandboxDied] = []
        self.deaths = 0
        self.gate = asyncio.Event()
        self.gate.set()
        self.life = Lifecycle(self._end, self._died, after_call)

    def ready(self) -> "Made":
        self.life.move(State.READY)
        return self

    def _died(self) -> None:
        self.deaths += 1

    async def _end(self, cause: SandboxDied) -> SandboxDied:
        self.causes.append(cause)
        await self.gate.wait()
        return SandboxDied(Death.EXIT, "exit status 3") if cause.reason is Death.EXIT else cause


async def answered(payload: bytes = b"ok") -> Reply:
    await asyncio.sleep(0)
    return Reply(True, payload)


async def dies() -> Reply:
    await asyncio.sleep(0)
    raise SandboxDied(Death.EXIT)


async def hangs() -> Reply:
    await asyncio.Event().wait()
    raise AssertionError


@pytest.mark.parametrize("state", list(State))
@pytest.mark.parametrize("to", list(State))
def test_every_other_move_is_refused(state: State, to: State) -> None:
    life = Lifecycle(lambda cause: _never(cause), lambda: None)
    life.state = state
    if to in LEGAL_MOVES[state]:
        life.move(to)
        assert life.state is to
    else:
        with pytest.raises(AssertionError, match="illegal move of a sandbox"):
            life.move(to)


async def _never(cause: SandboxDied) -> SandboxDied:
    raise AssertionError(cause)


async def test_calls_follow_one_another() -> None:
    made = Made().ready()
    for payload in (b"one", b"two"):
        assert (await made.life.run_call(answered(payload))).payload == payload
        assert made.life.state is State.READY
    assert made.life.death is None


async def test_a_death_during_a_call_is_raised_with_its_final_cause_once_nothing_is_left() -> None:
    made = Made().ready()
    made.gate.clear()
    call = asyncio.create_task(made.life.run_call(dies()))
    await asyncio.sleep(0.01)
    assert (made.life.state, call.done()) == (State.ENDING, False)
    made.gate.set()
    with pytest.raises(SandboxDied, match="exit status 3"):
        await call
    assert (made.life.state, made.deaths, len(made.causes)) == (State.ENDED, 0, 1)
    with pytest.raises(SandboxDied, match="exit status 3"):
        await made.life.run_call(answered())


async def test_a_process_that_ends_after_it_has_answered_has_ended_between_two_calls() -> None:
    made = Made().ready()

    async def answered_last() -> Reply:
        made.life.stream_ended()
        return await answered()

    assert (await made.life.run_call(answered_last())).payload == b"ok"
    assert (made.life.state, made.deaths) == (State.ENDING, 1)
    with pytest.raises(SandboxDied, match="exit status 3"):
        await made.life.run_call(answered())


async def test_a_death_between_two_calls_is_reported_once() -> None:
    for state in (State.READY, State.FROZEN):
        made = Made().ready()
        if state is State.FROZEN:
            made.life.move(State.FROZEN)
        made.life.stream_ended()
        made.life.process_ended(lambda: None)
        await made.life.end(SandboxDied(Death.KILLED))
        assert (made.deaths, made.life.ended_idle, made.life.ended_frozen) == (1, True, state is State.FROZEN)
        assert made.life.death is not None
        assert made.life.death.reason is Death.EXIT


async def test_the_first_cause_counts_and_every_caller_waits_for_the_end() -> None:
    made = Made().ready()
    made.life.lost(SandboxDied(Death.OUT_OF_MEMORY, "130 MB"))
    causes = await asyncio.gather(*(made.life.end(SandboxDied(Death.KILLED)) for _ in range(3)))
    assert {cause.reason for cause in causes} == {Death.OUT_OF_MEMORY}
    assert len(made.causes) == 1


async def test_a_cancelled_call_ends_the_sandbox_without_reporting_a_death() -> None:
    made = Made().ready()
    call = asyncio.create_task(made.life.run_call(hangs()))
    await asyncio.sleep(0)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert made.life.state is State.SPOILED
    made.life.stream_ended()
    assert (made.deaths, made.life.death) == (0, None)
    await made.life.end(SandboxDied(Death.KILLED))
    assert made.life.state is State.ENDED


async def test_an_end_goes_on_when_its_caller_is_cancelled() -> None:
    made = Made().ready()
    made.gate.clear()
    killing = asyncio.create_task(made.life.end(SandboxDied(Death.KILLED)))
    await asyncio.sleep(0)
    killing.cancel()
    await asyncio.wait([killing])
    ended = asyncio.Event()
    made.life.on_end(ended.set)
    made.gate.set()
    await asyncio.wait_for(ended.wait(), 30)
    assert made.life.state is State.ENDED


async def test_a_callback_registered_after_the_end_runs_at_once() -> None:
    made = Made().ready()
    order: list[str] = []
    made.life.on_end(lambda: order.append("before"))
    await made.life.end(SandboxDied(Death.KILLED))
    made.life.on_end(lambda: order.append("after"))
    assert order == ["before", "after"]


async def test_a_check_after_the_call_can_end_the_sandbox() -> None:
    too_much = SandboxDied(Death.OUT_OF_MEMORY, "130 MB of 128 MB")
    made = Made(lambda: too_much).ready()
    with pytest.raises(SandboxDied, match="130 MB"):
        await made.life.run_call(answered())
    assert made.life.state is State.ENDED


def test_the_output_of_a_start_is_passed_on_and_its_end_is_kept() -> None:
    seen = bytearray()
    output = StartOutput(seen.extend)
    for _ in range(100):
        output(b"x" * 1000)
    output(b"Traceback")
    assert len(seen) == 100_009
    assert output.text().endswith("Traceback")
    assert len(output.text()) == START_OUTPUT_BYTES
    output.ready()
    output(b"later")
    assert (output.text(), seen[-5:]) == ("", b"later")
