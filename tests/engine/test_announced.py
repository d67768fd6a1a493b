"""Calls whose events are still to be read: refused at once where they could not run."""

import asyncio

import pytest
from tests.engine.conftest import Engine, settle

from sesame.model.errors import Exhausted, NotFound
from sesame.model.invocation import Target

TARGET = Target("s", "LATEST", "f")
CAP, MEMORY_MB = 4, 1024


async def test_calls_are_announced_up_to_the_cap(engine: Engine) -> None:
    engine.driver.behaviour = lambda _sandbox, _call: None
    running = asyncio.create_task(engine.call())
    await settle()
    announced = [engine.local.announce(TARGET) for _ in range(CAP)]
    for each in announced[: CAP - 1]:
        each.__enter__()
    with pytest.raises(Exhausted, match=f"limit of {CAP} instances"):
        announced[-1].__enter__()
    for each in announced[: CAP - 1]:
        each.__exit__(None, None, None)
    engine.driver.made[0].answer()
    await running
    # The idle instance is taken by the call, and in nobody's way.
    for each in [engine.local.announce(TARGET) for _ in range(CAP)]:
        each.__enter__()


async def test_memory_counts_over_all_functions(engine: Engine) -> None:
    engine.deploy("big", memory_size=MEMORY_MB)
    with engine.local.announce(Target("s", "LATEST", "big")):
        with pytest.raises(Exhausted, match="memory"), engine.local.announce(TARGET):
            pass
    with engine.local.announce(TARGET):
        pass


async def test_a_missing_function_is_refused_before_its_event_is_read(engine: Engine) -> None:
    with pytest.raises(NotFound), engine.local.announce(Target("s", "LATEST", "other")):
        pass
