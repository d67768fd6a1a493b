"""Background tasks come back, however they ended, until they are closed.

Run by pytest.
"""

import asyncio
from collections.abc import Awaitable, Callable
from itertools import pairwise

import pytest
from tests.support.fakes import FakeClocks

from sesame.background import SOUND_AFTER_S, BackgroundTasks, every
from sesame.model.clocks import SYSTEM_CLOCKS


def task_named(name: str) -> "asyncio.Task[None]":
    (found,) = [task for task in asyncio.all_tasks() if task.get_name() == f"sesame {name}"]
    return found


async def fails() -> None:
    raise OSError(5, "Input/output error")


async def returns() -> None:
    return


async def is_cancelled() -> None:
    raise asyncio.CancelledError


@pytest.mark.parametrize("end", [fails, returns, is_cancelled])
async def test_a_task_that_ends_is_started_again(end: Callable[[], Awaitable[None]]) -> None:
    tasks, starts, enough = BackgroundTasks(SYSTEM_CLOCKS, restart_after_s=0.001), 0, asyncio.Event()

    async def run() -> None:
        nonlocal starts
        starts += 1
        if starts < 4:
            await end()
        else:
            enough.set()
            await asyncio.Event().wait()

    tasks.keep("work", run)
    await asyncio.wait_for(enough.wait(), 30)
    assert tasks.names() == ["work"]
    await tasks.close()
    await tasks.close()
    assert starts == 4
    assert tasks.names() == []


async def test_a_task_that_was_cancelled_from_outside_comes_back_and_closing_ends_it() -> None:
    tasks, started = BackgroundTasks(SYSTEM_CLOCKS, restart_after_s=0.001), asyncio.Semaphore(0)

    async def run() -> None:
        started.release()
        await asyncio.Event().wait()

    tasks.keep("work", run)
    for _ in range(3):
        await asyncio.wait_for(started.acquire(), 30)
        task_named("work").cancel()
    await asyncio.wait_for(started.acquire(), 30)
    running = task_named("work")
    await tasks.close()
    assert running.cancelled()


async def test_one_task_can_be_stopped_for_good() -> None:
    tasks = BackgroundTasks(SYSTEM_CLOCKS, restart_after_s=0.001)

    async def run() -> None:
        await asyncio.Event().wait()

    tasks.keep("work", run)
    tasks.keep("other", run)
    await asyncio.sleep(0)
    await tasks.stop("work")
    await tasks.stop("work")
    await asyncio.sleep(0.01)
    assert tasks.names() == ["other"]
    await tasks.close()


async def test_the_wait_doubles_and_is_short_again_after_a_sound_run() -> None:
    clocks, starts, runs_s = FakeClocks(), list[float](), [0.0] * 8 + [SOUND_AFTER_S + 1] + [0.0] * 20
    tasks = BackgroundTasks(clocks)

    async def run() -> None:
        starts.append(clocks.monotonic())
        await clocks.sleep(runs_s[len(starts) - 1])
        raise OSError(5, "Input/output error")

    tasks.keep("work", run)
    await clocks.pass_time(700)
    waits = [later - start for start, later in pairwise(starts)]
    assert waits[:9] == [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0, SOUND_AFTER_S + 1 + 1.0]
    await tasks.close()


async def test_every_acts_at_once_and_again_counted_from_the_end_of_an_act() -> None:
    clocks, acted = FakeClocks(), list[float]()
    start = clocks.monotonic()

    async def act() -> None:
        acted.append(clocks.monotonic() - start)
        await clocks.sleep(5)

    task = asyncio.create_task(every(clocks, 3600, act))
    await clocks.pass_time(2 * 3605)
    task.cancel()
    assert acted == [0.0, 3605.0, 7210.0]
