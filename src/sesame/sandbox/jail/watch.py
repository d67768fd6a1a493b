"""Enforces one instance's limits without cgroups, by examining its processes at intervals.

Created by `jail.instance` for an instance without a memory cgroup; `jail.driver` decides when to look. It detects with
a delay what the kernel would have refused or killed at once.
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

# POLICY: descriptors beyond this number count as the function's memory, because of the buffers behind them. A socket
# takes up to 208 KB by default, but usually next to nothing.
FREE_DESCRIPTORS = 256
KB_PER_DESCRIPTOR = 64
# POLICY: an instance found with more runnable threads than this, in so many looks in a row, gets the lowest priority
# from then on: without cgroups, each thread has as large a share as a whole other instance. After one such look the
# next follows soon, before memory is measured, which takes a second for a large crowd.
CROWD_THREADS, CROWDED_LOOKS, LOOK_AGAIN_S = 32, 2, 0.05
# POLICY: if an instance with more processes than this times out, all but the function's own are ended first. Otherwise
# the function would compete with them for a processor to log its stacks, and ending them takes some tenths of a second.
CROWD_PROCESSES = 32

T = TypeVar("T")


class Watch:
    """`executor` runs the looks in a thread, because the instance determines how long they take."""

    def __init__(self, gauge: Gauge, init: JailedProcess, memory_mb: int) -> None:
        self._gauge = gauge
        self._init = init
        self._memory_mb = memory_mb
        self._stopping = Stopping(init.pid)
        self._crowded = 0
        self._processes, self._threads = 1, 1

    @property
    def is_crowd(self) -> bool:
        """Whether the last look found more than `CROWD_PROCESSES`; a fresh look would take long beside a crowd."""
        return self._processes > CROWD_PROCESSES

    def thawed(self) -> None:
        """The instance may run again; `keep_stopped` starts over when it is next frozen."""
        self._stopping = Stopping(self._init.pid)

    async def keep_stopped(self, executor: ThreadPoolExecutor) -> SandboxDied | None:
        """Stops what runs in a frozen instance. Returns why the instance must end, if stopping does not help."""
        stopping = self._stopping
        # Ignore the result if the instance was thawed during the look.
        if not (stopping.due() and await _in(executor, stopping.runs) and stopping is self._stopping):
            return None
        if stopping.hopeless:
            return SandboxDied(Death.RAN_ON, f"it was found running {RUNNING_LOOKS_MAX} times while it was frozen")
        self._init.stop()
        return None

    async def overrun(self, executor: ThreadPoolExecutor) -> SandboxDied | None:
        """Returns why the instance must end; None while it keeps to its limits."""
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
            # Before ending the instance, count shared pages once, in addition to the buffers.
            found = self._gauge.census(pids, self._memory_mb - buffers_mb)
        self._threads = found.threads
        return found

    def _look_for_crowd(self) -> list[int]:
        """Returns the instance's pids, after demoting its processes if they are too many."""
        pids = self._gauge.processes()
        self._processes = len(pids)
        self._have_crowd_step_back(pids)
        return pids

    def _have_crowd_step_back(self, pids: list[int]) -> None:
        # The number of threads at the last look tells whether their states are worth examining.
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
