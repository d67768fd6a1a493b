"""Makes jails for tests, or says why none can be made here.

Used by the tests of the jail and of its walls, which load it by path. Every driver has a directory of its own.
"""

import asyncio
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from sesame.sandbox import jail_sweep
from sesame.sandbox.interpreters import discover
from sesame.sandbox.jail import JailDriver, JailOptions
from sesame.sandbox.jail_grade import probe
from sesame.sandbox.memory import tree
from sesame.sandbox.plain import Launch

INTERPRETERS = discover()
GRADE = probe()
jail_only = pytest.mark.skipif(not GRADE.possible, reason=f"no jail can be made here: {GRADE.reason}")
root_only = pytest.mark.skipif(GRADE.kind != "root", reason=f"needs a jail made by root: {GRADE.reason}")


def resolve(runtime: str) -> Launch:
    interpreter = INTERPRETERS.get(runtime)
    if interpreter is None:
        raise LookupError(f"no interpreter for {runtime}")
    return Launch(interpreter.path)


class Traces:
    """What instances could leave on the machine."""

    @staticmethod
    def now() -> dict[str, object]:
        layout = jail_sweep.hierarchies()
        return {
            "own groups": sorted(name for name, _ in layout.leftovers() if f"-{os.getpid()}-" in name),
            "own descriptors": len(os.listdir("/proc/self/fd")),
            "own children": Traces.processes_below(os.getpid()),
            "own mounts": Traces.mounts().count("\n"),
        }

    @staticmethod
    async def settled(wanted: dict[str, object], patience_s: float = 5.0) -> dict[str, object]:
        """The traces, once they are as wanted or patience is at its end: the kernel removes some a moment later."""
        deadline = time.monotonic() + patience_s
        while (found := Traces.now()) != wanted and time.monotonic() < deadline:  # noqa: ASYNC110 (the kernel does it)
            await asyncio.sleep(0.01)
        return found

    @staticmethod
    def mounts() -> str:
        return Path("/proc/self/mountinfo").read_text()

    @staticmethod
    def processes_below(root: int) -> list[int]:
        """Living descendants of a process, and zombies among them."""
        return [pid for pid in tree(root) if pid != root]


@asynccontextmanager
async def jail(state: Path, **options: Any) -> AsyncIterator[JailDriver]:
    driver = JailDriver(resolve, state, JailOptions(**{"ready_cells": 2, **options}))
    await driver.open()
    try:
        yield driver
    finally:
        await driver.close()
