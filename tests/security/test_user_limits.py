"""What an ordinary user's jail holds without cgroups: each instance to its own limits, and others undisturbed.

Root can make such a jail too, for itself. What is no limit for root is in ordinary_user.py.
"""

import asyncio
import itertools
import json
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
import pytest_asyncio
from tests.runtime.conftest import Stage
from tests.security.grades import GRADES
from tests.support.interpreters import INTERPRETERS
from tests.support.jails import jail, jail_only

from sesame.sandbox.interface import KillReason, SandboxDied
from sesame.sandbox.jail import processes
from sesame.sandbox.jail.driver import JailDriver
from sesame.sandbox.jail.isolation import Isolation
from sesame.sandbox.jail.processes import LOWEST_PRIORITY, first_child
from sesame.sandbox.jail.watch import CROWD_PROCESSES
from sesame.sandbox.jail.zygote_client import JailedProcess
from sesame.sandbox.memory import tree

pytestmark = [jail_only, pytest.mark.asyncio(loop_scope="module")]

PATIENCE_S = 60

Until = Callable[..., Any]


@pytest.fixture(scope="module")
def runtime() -> str:
    if "python3.12" not in INTERPRETERS:
        pytest.skip("no interpreter found for python3.12")
    return "python3.12"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def driver(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[JailDriver]:
    """Of an ordinary user, whoever runs the tests."""
    folder = tmp_path_factory.mktemp("jail")
    async with jail(folder, probe=lambda: Isolation("user"), cgroups=False) as made:
        yield made


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def unwatched(tmp_path_factory: pytest.TempPathFactory, runtime: str) -> AsyncIterator[Stage]:
    """The same without what counts memory."""
    without = frozenset({"memory"})
    folder = tmp_path_factory.mktemp("unwatched")
    async with jail(folder, probe=lambda: Isolation("user"), cgroups=False, without=without) as made:
        yield Stage(made, runtime)


MEMORY_MB = 128
# Each would hold more than the function's memory, and goes on holding it for so long that many looks fall into it.
SECONDS = 30
HOARDS: dict[str, dict[str, Any]] = {
    "memory_without_process": {"mb": 200},
    "shared_memory_without_process": {"mb": 200},
    "page_tables": {"mb": 200},
    "socket_buffers": {"pairs": 1500},
}


async def hoard(stage: Stage, attack: str, seconds: float) -> Any:
    """What the attacker answers, or why it did not live to answer."""
    attacker = await stage.start("attacks", f"index.{attack}", memory_mb=MEMORY_MB)
    try:
        return await attacker.json(json.dumps({**HOARDS[attack], "seconds": seconds}).encode())
    except SandboxDied as died:
        return died.reason


@pytest.mark.parametrize("attack", HOARDS)
async def test_what_no_process_seems_to_hold_counts_or_is_refused(stage: Stage, attack: str) -> None:
    assert await hoard(stage, attack, SECONDS) in ("out_of_memory", "errno 38")


@pytest.mark.thorough
@pytest.mark.parametrize("attack", HOARDS)
async def test_without_the_wall_it_is_held(unwatched: Stage, attack: str) -> None:
    assert await hoard(unwatched, attack, 0) is True


async def test_memory_that_is_taken_after_the_result_counts(stage: Stage, until: Until) -> None:
    attacker = await stage.start("attacks", "index.memory_after_result", memory_mb=MEMORY_MB)
    await attacker.invoke(b'{"mb": 400}')
    async with asyncio.timeout(PATIENCE_S):
        await attacker.died.wait()
    await until(lambda: "out of memory" in attacker.text.lower(), "the log says why")


async def test_without_the_wall_it_is_taken(unwatched: Stage) -> None:
    attacker = await unwatched.start("attacks", "index.memory_after_result", memory_mb=MEMORY_MB)
    await attacker.invoke(b'{"mb": 400}')
    async with asyncio.timeout(PATIENCE_S):
        while await attacker.json(b'{"ask": true}') < 400:  # noqa: ASYNC110 (the function does it)
            await asyncio.sleep(0.05)


async def test_a_crowd_has_the_lowest_priority(stage: Stage, until: Until) -> None:
    attacker = await stage.start("attacks", "index.crowd", memory_mb=3072)
    await attacker.invoke(b'{"busy": 40, "waiting": 0}')
    await until(lambda: priorities(attacker.sandbox.init_pid) == {LOWEST_PRIORITY}, "all are out of the way")


async def test_many_that_wait_and_a_few_that_run_are_no_crowd(stage: Stage, until: Until) -> None:
    attacker = await stage.start("attacks", "index.crowd", memory_mb=3072)
    looks = itertools.count()
    await attacker.invoke(b'{"busy": 3, "waiting": 40}')
    await until(lambda: next(looks) > 100, "some looks have been taken")
    assert priorities(attacker.sandbox.init_pid) == {os.getpriority(os.PRIO_PROCESS, 0)}


@pytest.mark.parametrize(("others", "is_crowd"), [(CROWD_PROCESSES, True), (CROWD_PROCESSES - 1, False)])
async def test_only_a_crowd_ends_ahead_of_the_function_when_its_time_is_up(
    stage: Stage, until: Until, others: int, is_crowd: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    end_crowd, ended = JailedProcess.end_crowd, asyncio.Event()

    def noted(init: JailedProcess) -> None:
        ended.set()
        end_crowd(init)

    monkeypatch.setattr(JailedProcess, "end_crowd", noted)
    looks = itertools.count()
    attacker = await stage.start("attacks", "index.crowd", memory_mb=3072)
    init = attacker.sandbox.init_pid
    calling = asyncio.create_task(attacker.invoke(json.dumps({"busy": 2, "waiting": others - 2, "stays": 1}).encode()))
    await until(lambda: len(tree(init)) == 2 + others, "all of them run")
    # A look that began before may still be taken.
    await until(lambda: next(looks) > 20, "some looks have been taken")
    await attacker.sandbox.kill(KillReason.TIMEOUT)
    with pytest.raises(SandboxDied):
        await calling
    assert ended.is_set() == is_crowd
    assert "in crowd" in attacker.text
    assert not psutil.pid_exists(init)


def priorities(init: int) -> set[int]:
    """Of the instance's processes but process 1, which runs no foreign code."""
    return {os.getpriority(os.PRIO_PROCESS, pid) for pid in tree(init)[1:]}


# An ordinary user's in `make test`.
UNSCOPED = [pytest.param(each, marks=() if each == "user" else pytest.mark.thorough) for each in GRADES]


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=UNSCOPED)
async def unscoped(
    tmp_path_factory: pytest.TempPathFactory, runtime: str, request: pytest.FixtureRequest
) -> AsyncIterator[Stage]:
    """Without cgroups as before Linux 6.12, which has scopes of signals; made by root too, who may have no cgroups."""
    options = {**GRADES[request.param], "cgroups": False, "without": frozenset({"scope"})}
    async with jail(tmp_path_factory.mktemp("unscoped"), **options) as made:
        yield Stage(made, runtime)


SIGNALS_TO_PROCESS_1 = [
    "continues_process_1",
    "queues_to_process_1",
    pytest.param("floods_process_1", marks=pytest.mark.thorough),
]


@pytest.mark.parametrize("attack", ["fork_chain", *SIGNALS_TO_PROCESS_1])
async def test_what_would_run_on_stands_still_while_its_instance_is_frozen(
    stage: Stage, until: Until, attack: str
) -> None:
    await stands_still_while_it_is_frozen(stage, until, attack)


@pytest.mark.thorough
@pytest.mark.parametrize("attack", SIGNALS_TO_PROCESS_1)
async def test_process_1_obeys_the_host_alone(unscoped: Stage, until: Until, attack: str) -> None:
    await stands_still_while_it_is_frozen(unscoped, until, attack)


async def stands_still_while_it_is_frozen(stage: Stage, until: Until, attack: str) -> None:
    attacker = await stage.start("attacks", f"index.{attack}", memory_mb=512)
    await attacker.invoke(b"{}")
    marks = Path(f"/proc/{attacker.sandbox.init_pid}/root/tmp/links")
    await until(lambda: os.stat(marks).st_size, "it runs after its call")
    for _ in range(3):
        attacker.sandbox.freeze()
        sizes: list[int] = []

        def stands_still(sizes: list[int] = sizes) -> bool:
            sizes.append(os.stat(marks).st_size)
            return sizes[-100:] == sizes[-1:] * 100

        await until(stands_still, "nothing runs")
        attacker.sandbox.thaw()
        await until(lambda size=sizes[-1]: os.stat(marks).st_size > size, "it runs again")


@pytest.mark.parametrize("attack", [None, *SIGNALS_TO_PROCESS_1])
async def test_an_instance_that_is_thawed_as_soon_as_it_is_frozen_answers(
    unscoped: Stage, attack: str | None, until: Until
) -> None:
    actor = await unscoped.start("attacks", "index.disturbed", memory_mb=512)
    await actor.invoke(json.dumps({"by": attack}).encode())
    for turn in range(100):
        actor.sandbox.freeze()
        if turn % 10 == 0:
            await until(lambda: stopped(actor.sandbox.init_pid), "it is stopped")
        actor.sandbox.thaw()
        async with asyncio.timeout(PATIENCE_S):
            await actor.invoke(b"{}")


def stopped(init: int) -> bool:
    """Whether the function's process is."""
    return Path(f"/proc/{first_child(init)}/stat").read_text().rpartition(")")[2].split()[0] == "T"


async def test_an_instance_that_cannot_be_frozen_is_ended(
    stage: Stage, until: Until, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "RUNNING_LOOKS_MAX", 20)
    attacker = await stage.start("attacks", "index.continues_itself", memory_mb=512)
    assert await attacker.json(b"{}") is True
    attacker.sandbox.freeze()
    async with asyncio.timeout(PATIENCE_S):
        await attacker.died.wait()
    await until(lambda: "cannot be frozen" in attacker.text, "the log says why")
