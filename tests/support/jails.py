"""Makes jails for tests, or says why none can be made here.

Used by the tests of the jail and of its walls, which load it by path. Every driver has a directory of its own.
"""

import contextlib
import gc
import os
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.support.interpreters import INTERPRETERS
from tests.support.open_files import descriptors
from tests.support.pauses import Pauses

from sesame.model.web_server import is_custom
from sesame.sandbox.jail import sweep as jail_sweep
from sesame.sandbox.jail.driver import JailDriver, JailOptions
from sesame.sandbox.jail.isolation import probe
from sesame.sandbox.launch import Launch
from sesame.sandbox.memory import tree
from sesame.sandbox.network import Answers
from sesame.sandbox.runtimes import web_servers

ISOLATION = probe()
jail_only = pytest.mark.skipif(not ISOLATION.possible, reason=f"no jail can be made here: {ISOLATION.reason}")
NO_BUCKETS = ISOLATION.no_buckets
buckets_only = pytest.mark.skipif(bool(NO_BUCKETS), reason=f"no bucket can be mounted here: {NO_BUCKETS}")
root_only = pytest.mark.skipif(ISOLATION.kind != "root", reason=f"needs a jail made by root: {ISOLATION.reason}")


def resolve(runtime: str) -> Launch:
    if is_custom(runtime):
        return web_servers.launch()
    interpreter = INTERPRETERS.get(runtime)
    if interpreter is None:
        raise LookupError(f"no interpreter for {runtime}")
    return Launch(interpreter.path)


class Traces:
    """What instances leave on the machine, seen from the moment this is made: only what was not there before.

    Not counted are processes below those that this process had started by then: servers that other tests share.
    """

    def __init__(self) -> None:
        # What Python has not yet let go of is no trace, and may not hide one.
        gc.collect()
        self._others = children(os.getpid())
        self._before = self._now()

    def left(self) -> dict[str, list[str]]:
        """By kind; empty when nothing is left."""
        found = {kind: sorted((now - self._before[kind]).elements()) for kind, now in self._now().items()}
        return {kind: names for kind, names in found.items() if names}

    async def settled(self, patience_s: float = 60.0) -> dict[str, list[str]]:
        """What is left once patience is at its end, or nothing: the kernel removes some a moment later."""
        deadline, pauses = time.monotonic() + patience_s, Pauses(0.01)
        while (found := self.left()) and time.monotonic() < deadline:
            await pauses.wait()
        return found

    def _now(self) -> dict[str, Counter[str]]:
        groups = jail_sweep.hierarchies().leftovers()
        own = [pid for child in children(os.getpid()) - self._others for pid in tree(child)]
        return {
            "groups": Counter(name for name, _ in groups if f"-{os.getpid()}-" in name),
            "descriptors": Counter(descriptors()),
            "processes": Counter(f"{pid} {command(pid)}" for pid in own),
            "mounts": Counter(Traces.mounts().splitlines()),
        }

    @staticmethod
    def mounts() -> str:
        return Path("/proc/self/mountinfo").read_text()

    @staticmethod
    def processes_below(root: int) -> list[int]:
        """Living descendants of a process, and zombies among them."""
        return [pid for pid in tree(root) if pid != root]


def children(pid: int) -> set[int]:
    """Of all threads of the process, zombies among them."""
    listed = Path(f"/proc/{pid}/task").glob("*/children")
    return {int(child) for file in listed for child in file.read_text().split()}


def command(pid: int) -> str:
    """What the process was started with; empty for a zombie."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    return ""


@asynccontextmanager
async def jail(state: Path, *, answers: Answers | None = None, **options: Any) -> AsyncIterator[JailDriver]:
    driver = JailDriver(resolve, state, JailOptions(**{"ready_resources": 2, **options}), answers)
    await driver.open()
    try:
        yield driver
    finally:
        await driver.close()
