"""Losing patience: whichever step waits for calls, none waits any longer, and no step is left out."""

import asyncio
from contextlib import AsyncExitStack

from tests.support.virtual_time import eventually

from sesame._patience import Patience
from sesame.cli.start import StoppedAtOnce, _Signals

PATIENCE_S = 50.0


class Step:
    """Something that waits for calls when it is stopped, and has more to do then."""

    def __init__(self) -> None:
        self.given_s: float | None = None
        self.ended = False
        self._hurried = asyncio.Event()

    async def stop(self, grace_s: float) -> None:
        self.given_s = grace_s
        if grace_s:
            await self._hurried.wait()
        await asyncio.sleep(0)
        self.ended = True

    def hurry(self) -> None:
        self._hurried.set()


async def test_it_ends_the_wait_of_the_step_under_way_and_of_those_that_follow() -> None:
    patience, steps = Patience(PATIENCE_S), [Step() for _ in range(3)]
    teardown = AsyncExitStack()
    for step in steps:
        teardown.push_async_callback(patience.end, step.stop, step.hurry)
    stopping = asyncio.create_task(teardown.aclose())
    await eventually(lambda: steps[2].given_s is not None)
    patience.lose()
    patience.lose()
    async with asyncio.timeout(60):
        await stopping
    assert [step.given_s for step in steps] == [0.0, 0.0, PATIENCE_S]
    assert all(step.ended for step in steps)


async def test_a_step_that_waits_for_no_call_is_not_disturbed() -> None:
    patience, calls, other_may_end = Patience(PATIENCE_S), Step(), asyncio.Event()
    teardown = AsyncExitStack()
    teardown.push_async_callback(patience.end, calls.stop, calls.hurry)
    teardown.push_async_callback(other_may_end.wait)
    stopping = asyncio.create_task(teardown.aclose())
    await asyncio.sleep(0)
    patience.lose()
    await asyncio.sleep(0)
    assert not stopping.done()
    other_may_end.set()
    await asyncio.wait_for(stopping, 60)
    assert (calls.given_s, calls.ended) == (0.0, True)


async def test_steps_beside_each_other_wait_at_the_same_time() -> None:
    patience, calls, others = Patience(PATIENCE_S), Step(), Step()
    teardown = AsyncExitStack()
    begin = patience.end_beside(teardown, others.stop, others.hurry)
    teardown.push_async_callback(patience.end, calls.stop, calls.hurry)
    teardown.callback(begin)
    stopping = asyncio.create_task(teardown.aclose())
    await eventually(lambda: (calls.given_s, others.given_s) == (PATIENCE_S, PATIENCE_S))
    calls.hurry()
    await eventually(lambda: calls.ended)
    assert not stopping.done()
    patience.lose()
    await asyncio.wait_for(stopping, 60)
    assert others.ended


async def test_a_step_that_was_not_begun_is_left_out() -> None:
    patience, others = Patience(PATIENCE_S), Step()
    async with AsyncExitStack() as teardown:
        patience.end_beside(teardown, others.stop, others.hurry)
    assert others.given_s is None


async def signalled(*, started: bool, signals: int) -> tuple[list[str], bool]:
    """What so many signals to stop do: what they call, and whether the task that serves was cancelled."""
    called: list[str] = []

    async def serve() -> None:
        heard = _Signals(None)
        if started:
            heard.hurry_by(lambda: called.append("hurry"))
        for _ in range(signals):
            heard.stop()
        await asyncio.sleep(0)
        try:
            heard.check_hurry()
        except StoppedAtOnce:
            called.append("at once")

    loop = asyncio.get_running_loop()
    task = asyncio.create_task(serve())
    await asyncio.wait({task})
    for number in (2, 15):
        loop.remove_signal_handler(number)
    return called, task.cancelled()


async def test_the_second_signal_has_calls_ended_and_the_third_breaks_the_stop_off() -> None:
    assert await signalled(started=True, signals=1) == ([], False)
    assert await signalled(started=True, signals=2) == (["hurry", "at once"], False)
    assert await signalled(started=True, signals=3) == (["hurry"], True)


async def test_before_there_are_calls_the_second_signal_breaks_the_start_off() -> None:
    assert await signalled(started=False, signals=1) == ([], False)
    assert await signalled(started=False, signals=2) == ([], True)
