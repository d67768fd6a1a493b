"""Measures what an instance uses now: by its cgroup if that counts, else process by process.

Used by the drivers, in threads, because everything here blocks; the more processes an instance has, the longer.
"""

import contextlib
from collections.abc import Sequence
from typing import Protocol

import psutil

from sesame.model.usage import Usage
from sesame.sandbox.memory import MIB, tree


class Group(Protocol):
    """The part of a cgroup used here. The cgroups module itself cannot be imported on systems without them."""

    def cpu_s(self) -> float | None: ...
    def memory_bytes(self) -> int | None: ...


def of_group(group: Group | None, init: int, baseline_mb: float = 0.0, cpu_quota: float | None = None) -> Usage:
    """The usage of all descendants of `init`. `baseline_mb` is memory that the group does not count as its own."""
    cpu_s = group.cpu_s() if group is not None else None
    memory_bytes = group.memory_bytes() if group is not None else None
    if cpu_s is not None and memory_bytes is not None:
        return Usage(cpu_s, memory_bytes / MIB + baseline_mb, cpu_quota)
    counted = of_processes(tree(init)[1:])
    return Usage(
        counted.cpu_s if cpu_s is None else cpu_s,
        counted.memory_mb if memory_bytes is None else memory_bytes / MIB + baseline_mb,
        cpu_quota,
    )


def of_processes(pids: Sequence[int]) -> Usage:
    """Counts shared pages once per process. The processor time of ended children is included in their parents'."""
    cpu_s, memory_bytes = 0.0, 0
    for pid in pids:
        # A process that has ended meanwhile uses nothing.
        with contextlib.suppress(psutil.Error):
            process = psutil.Process(pid)
            with process.oneshot():
                times, memory_bytes = process.cpu_times(), memory_bytes + process.memory_info().rss
            cpu_s += times.user + times.system + times.children_user + times.children_system
    return Usage(cpu_s, memory_bytes / MIB)
