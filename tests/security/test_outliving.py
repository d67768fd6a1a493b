"""No process outlives its instance, whatever it does to get away."""

import asyncio
import json
import os
from pathlib import Path
from typing import Any

import pytest
from tests.runtime.conftest import Stage
from tests.support.jails import Traces, jail, jail_only, root_only

from sesame.sandbox.interface import KillReason

pytestmark = [jail_only, pytest.mark.asyncio(loop_scope="module")]


def named(mark: str) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if (entry / "cmdline").read_bytes().split(b"\0")[0] == mark.encode():
                    found.append(int(entry.name))
            except OSError:
                continue
    return found


async def leave(stage: Any, handler: str, mark: str, until: Any) -> Any:
    actor = await stage.start("attacks", f"index.{handler}")
    await actor.invoke(json.dumps({"mark": mark}).encode())
    await until(lambda: named(mark), "the daemon runs")
    return actor


@pytest.mark.parametrize("handler", ["leaves_behind", "ignores_the_end"])
async def test_a_daemon_ends_with_its_instance(stage: Any, until: Any, handler: str) -> None:
    mark = f"outliving-{handler}-{stage.runtime}"
    actor = await leave(stage, handler, mark, until)
    await actor.sandbox.kill(KillReason.FAILED)
    assert not named(mark)


async def test_a_daemon_ends_with_the_functions_process(stage: Any, until: Any) -> None:
    mark = f"orphaned-{stage.runtime}"
    actor = await leave(stage, "leaves_behind", mark, until)
    init = actor.sandbox.init_pid
    os.kill(Traces.processes_below(init)[0], 9)
    await until(lambda: not named(mark), "it ended", 2.0)


async def test_a_daemon_stands_still_while_its_instance_is_frozen(stage: Any, until: Any) -> None:
    mark = f"frozen-{stage.runtime}"
    actor = await leave(stage, "leaves_behind", mark, until)
    actor.sandbox.freeze()
    # Frozen by version 2 it looks asleep; what counts is that it takes no processor and is killed all the same.
    await actor.sandbox.kill(KillReason.FAILED)
    assert not named(mark)


@root_only
async def test_without_a_pid_namespace_it_would_go_on(runtime: str, tmp_path: Path, until: Any) -> None:
    mark = f"free-{runtime}"
    async with jail(tmp_path, without=frozenset({"pid"}), cgroups=False) as driver:
        actor = await leave(Stage(driver, runtime), "leaves_behind", mark, until)
        await actor.sandbox.kill(KillReason.FAILED)
        await asyncio.sleep(0.1)
        left = named(mark)
        assert len(left) == 1
        os.kill(left[0], 9)
