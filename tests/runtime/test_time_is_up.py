"""What a function was doing when its time was up stands in its log, also while C code holds the interpreter's lock."""

import asyncio
import re
import time
from typing import Any

import pytest

from sesame.sandbox.interface import KillReason

pytestmark = pytest.mark.asyncio(loop_scope="module")

# The host waits for the stacks for 0.4 s, or 0.7 s where their beginning is there; the rest is this machine's. What
# else the machine does takes time too: one end within the bound shows that nothing waits longer.
KILL_LIMIT_S = 1.0
ENDS_MAX = 5


async def ended(stage: Any, until: Any, handler: str) -> str:
    """What a function logged that was ended while it hangs; fails when no end was as fast as it has to be."""
    for _ in range(ENDS_MAX):
        text, took_s = await ended_once(stage, until, handler)
        if took_s < KILL_LIMIT_S:
            return text
    raise AssertionError(f"no end of {ENDS_MAX} took less than {KILL_LIMIT_S} s: the last, {took_s:.2f} s")


async def ended_once(stage: Any, until: Any, handler: str) -> tuple[str, float]:
    """What it logged, and how long its end took."""
    actor = await stage.start("holds_the_lock", handler)
    call = asyncio.create_task(actor.invoke(request_id="slow"))
    await until(lambda: "going to sleep" in actor.text, "the handler runs")
    call.cancel()
    await asyncio.wait([call])
    began = time.monotonic()
    await actor.sandbox.kill(KillReason.TIMEOUT)
    return actor.text, time.monotonic() - began


@pytest.mark.parametrize("handler", ["index.handler", "index.with_threads"])
async def test_a_search_that_backtracks(stage: Any, until: Any, handler: str) -> None:
    text = await ended(stage, until, handler)
    assert re.search(r"Z slow \[ERROR\] Dumping stack trace after function timeout\n", text)
    assert re.search(r"\[ERROR\] request id = slow, thread id = \d+\n", text)
    assert re.search(r'  File "/code/index.py", line 11, in search\n', text)
    assert f"in {handler.partition('.')[2]}" in text
    assert text.index("in handler" if handler == "index.handler" else "in with_threads") < text.index("in search")
    assert "could not be had" not in text
    assert "bootstrap.py" not in text
    assert "watchdog.py" not in text


async def test_c_code_that_holds_the_gil(stage: Any, until: Any) -> None:
    text = await ended(stage, until, "index.in_c")
    if stage.py2:
        assert "[sesame] the stacks of the function could not be had" in text
    else:
        assert "in sleeps" in text
        assert "Dumping stack trace after function timeout" in text
