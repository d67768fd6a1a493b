"""Background tasks come back, however they ended, until they are closed.

Run by pytest.
"""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from sesame.background import BackgroundTasks, every


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
    tasks, starts, enough = BackgroundTasks(restart_after_s=0.001), 0, asyncio.Event()

    async def run() -> None:
        nonlocal starts
        starts += 1
        if starts < 4:
            await end()
        else:
            enough.set()
            await asyncio.Event().wait()

    tasks.keep("work", run)
    await asyncio.wait_for(enough.wait(), 10)
    assert tasks.names() == ["work"]
    await tasks.close()
    await tasks.close()
    assert starts == 4
    assert tasks.names() == []


async def test_a_task_that_somebody_cancels_comes_back_and_closing_ends_it() -> None:
    tasks, started = BackgroundTasks(restart_after_s=0.001), asyncio.Semaphore(0)

    async def run() -> None:
        started.release()
        await asyncio.Event().wait()

    tasks.keep("work", run)
    for _ in range(3):
        await asyncio.wait_for(started.acquire(), 10)
        task_named("work").cancel()
    await asyncio.wait_for(started.acquire(), 10)
    running = task_named("work")
    await tasks.close()
    assert running.cancelled()


async def test_one_task_can_be_stopped_for_good() -> None:
    tasks = BackgroundTasks(restart_after_s=0.001)

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


async def test_the_wait_doubles(monkeypatch: pytest.MonkeyPatch) -> None:
    tasks, waits, enough = BackgroundTasks(), list[float](), asyncio.Event()

    async def sleep(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 9:
            enough.set()
            await asyncio.Event().wait()

    monkeypatch.setattr("sesame.background.asyncio.sleep", sleep)
    tasks.keep("work", fails)
    await asyncio.wait_for(enough.wait(), 10)
    assert waits == [0.0, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0]
    await tasks.close()


async def test_every_acts_at_once_and_again() -> None:
    acted = asyncio.Semaphore(0)

    async def act() -> None:
        acted.release()

    task = asyncio.create_task(every(0.001, act))
    for _ in range(3):
        await asyncio.wait_for(acted.acquire(), 10)
    task.cancel()
