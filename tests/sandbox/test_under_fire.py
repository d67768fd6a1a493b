"""Many calls over many instances that are killed at random: every call ends, and ends truthfully."""

import asyncio
import os
import random
import signal
from typing import Any

import pytest
from tests.support.interpreters import INTERPRETERS

from sesame.sandbox.interface import SandboxDied

pytestmark = pytest.mark.asyncio(loop_scope="module")

INSTANCES = 8
CALLS = 400
FOUND = INTERPRETERS


@pytest.fixture(scope="module")
def runtime() -> str:
    if not FOUND:
        pytest.skip("no interpreter found")
    return list(FOUND)[-1]


async def test_calls_while_instances_are_killed(stage: Any) -> None:
    dice = random.Random(20170705)
    left = list(range(CALLS))
    returned, died, reasons = [], [], set()

    async def caller(number: int) -> None:
        actor = await stage.start("text_and_binary", "index.echo")
        while left:
            call = left.pop()
            payload = b"%d:" % call + b"x" * dice.choice((0, 1000, 200_000))
            if dice.random() < 0.1:
                asyncio.get_running_loop().call_later(dice.random() * 0.001, _shoot, actor)
            try:
                reply = await actor.invoke(payload)
            except SandboxDied as error:
                died.append(call)
                reasons.add((error.reason, str(error)))
                actor = await stage.start("text_and_binary", "index.echo")
            else:
                assert (reply.ok, reply.payload) == (True, payload)
                returned.append(call)

    await asyncio.gather(*(caller(number) for number in range(INSTANCES)))
    assert sorted(returned + died) == list(range(CALLS))
    assert reasons == {("exit", "killed by SIGKILL")}
    assert len(returned) > CALLS // 2


def _shoot(actor: Any) -> None:
    try:
        os.kill(actor.sandbox.pid, signal.SIGKILL)
    except ProcessLookupError:
        # It was shot before, and has been reaped.
        return
