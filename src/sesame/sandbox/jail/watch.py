"""Holds one instance to its limits where no cgroup does, by looking at its processes at intervals.

Made by `jail.instance` for an instance without a memory cgroup; `jail.driver` says when to look. What the kernel would
have refused or killed at once, this finds a moment later.
"""

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from sesame.sandbox.interface import Death, SandboxDied
from sesame.sandbox.jail.processes import RUNNING_LOOKS_MAX, Stopping, demote, more_run
from sesame.sandbox.jail.zygote_client import JailedProcess
from sesame.sandbox.memory import Census, Gauge

# POLICY: descriptors beyond these count as memory of the function, because of the buffers behind them. A socket takes
# 208 KB at most by default, and next to nothing as a rule.
FREE_DESCRIPTORS = 256
KB_PER_DESCRIPTOR = 64
# POLICY: an instance that is found with more threads that want a processor, in so many looks one after the other, has
# the lowest priority from then on. Without cgroups each thread has as large a share as a whole other instance. Where
# one look finds them the next follows soon, ahead of the count of what they hold: of a large crowd that takes a second.
CROWD_THREADS, CROWDED_LOOKS, LOOK_AGAIN_S = 32, 2, 0.05
# POLICY: of an instance with more processes all but the function's own end first when its time is up. Else that would
# wait among them for a processor, to tell what it was doing, and they take some tenths of a second to end.
CROWD_PROCESSES = 32

T = TypeVar("T")


class Watch:
    """`executor` has the thread that looks, because what an instance has is of its own choice."""

    def __init__(self, gauge: Gauge, init: JailedProcess, memory_mb: int) -> None:
        self._gauge = gauge
        self._init = init
        self._memory_mb = memory_mb
        self._stopping = Stopping(init.pid)
        self._crowded = 0
        self._processes, self._threads = 1, 1

    @property
    def is_crowd(self) -> bool:
        """Whether the last look found more than `CROWD_PROCESSES`. A look of its own would take long beside a crowd."""
        return self._processes > CROWD_PROCESSES

    def thawed(self) -> None:
        """It may run again; `keep_stopped` looks anew when it is frozen the next time."""
        self._stopping = Stopping(self._init.pid)

    async def keep_stopped(self, executor: ThreadPoolExecutor) -> SandboxDied | None:
        """Of a frozen instance: stops what is found running. Why the instance must end, where that does not help."""
        stopping = self._stopping
        # Where it was thawed during the look, what was seen counts no more.
        if not (stopping.due() and await _in(executor, stopping.runs) and stopping is self._stopping):
            return None
        if stopping.hopeless:
            return SandboxDied(Death.RAN_ON, f"it was found running {RUNNING_LOOKS_MAX} times while it was frozen")
        self._init.stop()
        return None

    async def overrun(self, executor: ThreadPoolExecutor) -> SandboxDied | None:
        """Why the instance must end; None while it keeps to its limits."""
        found = await _in(executor, self._look)
        held_mb = self._gauge.note(found)
        buffers_mb = _buffers_mb(found)
        if held_mb + buffers_mb <= self._memory_mb:
            return None
        text = f"{held_mb + buffers_mb:.2f} MB of {self._memory_mb} MB"
        if buffers_mb:
            text += f", {buffers_mb:.2f} MB of it for {found.descriptors} open descriptors"
        return SandboxDied(Death.OUT_OF_MEMORY, text)

    def _look(self) -> Census:
        pids = self._look_for_crowd()
        if 0 < self._crowded < CROWDED_LOOKS:
            time.sleep(LOOK_AGAIN_S)
            pids = self._look_for_crowd()
        found = self._gauge.census(pids, self._memory_mb)
        buffers_mb = _buffers_mb(found)
        if buffers_mb and found.memory_mb + buffers_mb > self._memory_mb:
            # Pages that its processes share are counted once before they are held against it, beside its buffers too.
            found = self._gauge.census(pids, self._memory_mb - buffers_mb)
        self._threads = found.threads
        return found

    def _look_for_crowd(self) -> list[int]:
        """Its processes, which have stepped back if they are too many."""
        pids = self._gauge.processes()
        self._processes = len(pids)
        self._have_crowd_step_back(pids)
        return pids

    def _have_crowd_step_back(self, pids: list[int]) -> None:
        # What threads there were at the last look is enough to tell whether their states are worth a look.
        if max(len(pids), self._threads) > CROWD_THREADS and more_run(pids, CROWD_THREADS):
            self._crowded += 1
            if self._crowded >= CROWDED_LOOKS:
                demote(pids)
        else:
            self._crowded = 0


def _buffers_mb(found: Census) -> float:
    return max(0, found.descriptors - FREE_DESCRIPTORS) * KB_PER_DESCRIPTOR / 1024


async def _in(executor: ThreadPoolExecutor, look: Callable[[], T]) -> T:
    return await asyncio.get_running_loop().run_in_executor(executor, look)
