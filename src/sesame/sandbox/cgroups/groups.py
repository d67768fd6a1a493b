"""Limits, measures, freezes and kills process groups with control groups of version 1, version 2 or both.

Used by `jail.host_resources` and `jail.driver`. `cgroups.teardown` ends groups, and works without a living Sesame.
Mounts nothing, and touches only groups whose names begin with `sesame-`.
"""

import contextlib
import os
from collections.abc import Mapping
from pathlib import Path

import msgspec

from sesame.sandbox.cgroups import teardown as cgroups_end
from sesame.sandbox.cgroups.layout import Hierarchies

CPU_PERIOD_US = 100_000
MIB = 1024 * 1024
# Version 2 counts TCP buffers as the group's memory; version 1 counts them separately, with a limit of their own.
TCP_BUFFERS_BYTES = 64 * MIB
_VERSION_1_LIMIT_FILES = ("memory.limit_in_bytes", "memory.memsw.limit_in_bytes")


class Limits(msgspec.Struct, frozen=True):
    """None is no limit. `cpu_shares` are relative (1024 for a function of 1 GB); `cpu_quota` is in processors."""

    memory_bytes: int | None
    processes: int | None
    cpu_shares: int
    cpu_quota: float | None = None


class Group:
    """The cgroup of one instance: one directory in each hierarchy in use. Created by `Cgroups.make`."""

    def __init__(self, directories: Mapping[str, Path], freezer: "_Freezer | None") -> None:
        self._directories = directories
        self._freezer = freezer
        self._memory = directories.get("memory")
        self._peak_file: int | None = None
        self._peak_said = b""
        self._peak = 0
        self.unified_fd = -1
        self.task_fds: tuple[int, ...] = ()

    def open(self) -> None:
        """Opens what a new process needs to join: `unified_fd` to be created in, `task_fds` to write `0` to."""
        unified = self._directories.get("unified")
        if unified is not None:
            self.unified_fd = os.open(unified, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        # `tasks` rather than `cgroup.procs`: when a thread moves itself, the kernel takes no global lock, which costs
        # 10 ms if it has not been taken recently. A directory shared by several controllers is joined once.
        paths = dict.fromkeys(path / "tasks" for name, path in self._directories.items() if name != "unified")
        for path in paths:
            # One at a time, so that `joined` closes those before one that cannot be opened.
            if path.exists():
                self.task_fds += (os.open(path, os.O_WRONLY | os.O_CLOEXEC),)

    def joined(self) -> None:
        """Closes the descriptors that were needed for joining."""
        for fd in (self.unified_fd, *self.task_fds):
            if fd >= 0:
                os.close(fd)
        self.unified_fd, self.task_fds = -1, ()

    def limit_sockets(self) -> None:
        """Bounds the buffers of the group's connections if they do not count as its memory."""
        if memory := self._directories.get("memory"):
            _write_if_there(memory / "memory.kmem.tcp.limit_in_bytes", str(TCP_BUFFERS_BYTES))

    def limit(self, limits: Limits) -> None:
        """Sets the limits. May be called again with other limits."""
        if (memory := self._directories.get("memory")) and limits.memory_bytes is not None:
            if (memory / "memory.max").exists():
                _write(memory / "memory.max", str(limits.memory_bytes))
                _write_if_there(memory / "memory.swap.max", "0")
            else:
                for name in _VERSION_1_LIMIT_FILES:
                    _write_if_there(memory / name, str(limits.memory_bytes))
        if (pids := self._directories.get("pids")) and limits.processes is not None:
            _write(pids / "pids.max", str(limits.processes))
        if cpu := self._directories.get("cpu"):
            quota = -1 if limits.cpu_quota is None else max(1000, int(limits.cpu_quota * CPU_PERIOD_US))
            if (cpu / "cpu.max").exists():
                _write(cpu / "cpu.max", f"{'max' if quota < 0 else quota} {CPU_PERIOD_US}")
                _write_if_there(cpu / "cpu.weight", str(min(10_000, max(1, limits.cpu_shares * 100 // 1024))))
            else:
                _write(cpu / "cpu.shares", str(max(2, limits.cpu_shares)))
                _write_if_there(cpu / "cpu.cfs_period_us", str(CPU_PERIOD_US))
                _write_if_there(cpu / "cpu.cfs_quota_us", str(quota))

    @property
    def counts_processes(self) -> bool:
        return "pids" in self._directories

    @property
    def counts_memory(self) -> bool:
        return self._memory is not None

    @property
    def limits_cpu(self) -> bool:
        return "cpu" in self._directories

    def memory_peak_bytes(self) -> int:
        """The highest memory use so far, without the page cache of files, which the kernel reclaims if needed."""
        if self._peak_file is None:
            self._peak_file = self._open_peak()
            if self._peak_file is None:
                return 0
        # This runs after every call, and most calls do not raise the peak.
        peak = os.pread(self._peak_file, 32, 0)
        if peak != self._peak_said:
            self._peak = max(0, int(peak) - self._file_cache_bytes())
            self._peak_said = peak
        return self._peak

    def memory_bytes(self) -> int | None:
        """Current memory use without the page cache of files; None if the group does not count memory."""
        if self._memory is None:
            return None
        for name in ("memory.current", "memory.usage_in_bytes"):
            if value := cgroups_end.read(str(self._memory / name)):
                return max(0, int(value) - self._file_cache_bytes())
        return None

    def cpu_s(self) -> float | None:
        """Processor seconds of all processes, past and present; None if the group does not count them."""
        for kind in ("cpu", "unified"):
            if (directory := self._directories.get(kind)) is None:
                continue
            if value := cgroups_end.read(str(directory / "cpuacct.usage")):
                return int(value) / 1e9
            if used_us := _field(directory / "cpu.stat", "usage_usec"):
                return used_us / 1e6
        return None

    def memory_kills(self) -> int:
        """How many processes the kernel has killed because the group exceeded its limit."""
        if self._memory is None:
            return 0
        events = self._memory / "memory.events"
        return _field(events if events.exists() else self._memory / "memory.oom_control", "oom_kill")

    def processes_refused(self) -> int:
        """How often a new process or thread was refused because the group was at its limit."""
        pids = self._directories.get("pids")
        return _field(pids / "pids.events", "max") if pids is not None else 0

    @property
    def can_freeze(self) -> bool:
        return self._freezer is not None

    def freeze(self) -> bool:
        """Stops every process of the group. Takes effect asynchronously; returns False if there is no freezer."""
        return self._freezer is not None and self._freezer.set(frozen=True)

    def thaw(self) -> bool:
        return self._freezer is not None and self._freezer.set(frozen=False)

    def dies_while_frozen(self) -> bool:
        """Whether SIGKILL reaches a frozen process, which it does not under a version 1 freezer."""
        return self._freezer is None or self._freezer.killable

    def directories(self) -> list[Path]:
        """One directory per hierarchy; controllers in the same hierarchy share it."""
        return list(dict.fromkeys(self._directories.values()))

    def kill(self) -> None:
        """Kills every process of the group, frozen or not, and waits for their end. Blocks; raises `TimeoutError`."""
        cgroups_end.kill(self._paths())

    def remove(self) -> None:
        """Removes the empty group. Blocks while its last process is exiting."""
        self.joined()
        if self._peak_file is not None:
            os.close(self._peak_file)
            self._peak_file = None
        cgroups_end.remove(self._paths())

    def _paths(self) -> list[str]:
        return [str(directory) for directory in self.directories()]

    def _open_peak(self) -> int | None:
        """Opens the file with the peak, which stays open so that reading it takes one system call."""
        if self._memory is not None:
            for name in ("memory.peak", "memory.max_usage_in_bytes"):
                with contextlib.suppress(FileNotFoundError):
                    return os.open(self._memory / name, os.O_RDONLY | os.O_CLOEXEC)
        return None

    def _file_cache_bytes(self) -> int:
        assert self._memory is not None
        stat = dict(line.split() for line in cgroups_end.read(str(self._memory / "memory.stat")).splitlines())
        cache = int(stat.get("total_cache", stat.get("file", 0)))
        return max(0, cache - int(stat.get("total_shmem", stat.get("shmem", 0))))


class _Freezer:
    def __init__(self, directory: Path, *, killable: bool) -> None:
        self._file = directory / ("cgroup.freeze" if killable else "freezer.state")
        self._words = ("0", "1") if killable else ("THAWED", "FROZEN")
        self.killable = killable

    def set(self, *, frozen: bool) -> bool:
        return _write_if_there(self._file, self._words[frozen])


class Cgroups:
    """All groups of one Sesame, below one parent `sesame-…` in each hierarchy."""

    def __init__(self, hierarchies: Hierarchies, name: str) -> None:
        self._hierarchies = hierarchies
        self._parents = {kind: base / name for kind, base in hierarchies.bases.items()}

    @property
    def controllers(self) -> frozenset[str]:
        """Which of memory, pids and cpu are enforced here."""
        return frozenset(self._parents) & {"memory", "pids", "cpu"}

    @property
    def freezer(self) -> str:
        """How instances are frozen: "cgroup.freeze", "freezer.state" or "". Final only after `open`."""
        if self._freezes_by_version_2():
            return "cgroup.freeze"
        return "freezer.state" if "freezer" in self._parents else ""

    def open(self, *, version_1_freezer: bool = False) -> None:
        """Creates the parents. Raises `OSError` if that is impossible.

        `version_1_freezer` uses the old freezer even if the new one is available.
        """
        for parent in dict.fromkeys(self._parents.values()):
            parent.mkdir(exist_ok=True)
        self._hierarchies.delegate(dict.fromkeys(self._parents.values()))
        self._weigh()
        if version_1_freezer and "freezer" in self._parents:
            self._remove_parent("unified")
        elif self._freezes_by_version_2():
            self._remove_parent("freezer")

    def _weigh(self) -> None:
        """POLICY: all functions together weigh as much as one ordinary process per processor, not as one process."""
        if cpu := self._parents.get("cpu"):
            processors = os.cpu_count() or 1
            _write_if_there(cpu / "cpu.weight", str(min(10_000, 100 * processors)))
            _write_if_there(cpu / "cpu.shares", str(1024 * processors))

    def make(self, name: str) -> Group:
        """Creates an empty group without limits, open for joining."""
        group = self.group(name)
        created: list[Path] = []
        try:
            for directory in group.directories():
                directory.mkdir()
                created.append(directory)
            group.limit_sockets()
            group.open()
        except OSError:
            group.joined()
            for directory in created:
                directory.rmdir()
            raise
        return group

    def group(self, name: str) -> Group:
        """The group of that name, whether it exists or not."""
        directories = {kind: parent / name for kind, parent in self._parents.items()}
        freezer = None
        if self._freezes_by_version_2():
            freezer = _Freezer(directories["unified"], killable=True)
        elif "freezer" in directories:
            freezer = _Freezer(directories["freezer"], killable=False)
        return Group(directories, freezer)

    def paths(self) -> list[str]:
        """The parents, for the watchdog."""
        return [str(parent) for parent in dict.fromkeys(self._parents.values())]

    def clear(self) -> None:
        """Kills every process in every group, then removes groups and parents. Blocks; raises `TimeoutError`."""
        cgroups_end.end_all(self.paths())

    def _freezes_by_version_2(self) -> bool:
        return "unified" in self._parents and (self._parents["unified"] / "cgroup.freeze").exists()

    def _remove_parent(self, kind: str) -> None:
        parent = self._parents.pop(kind, None)
        if parent is not None and parent not in self._parents.values():
            cgroups_end.removed(str(parent))


def _field(path: Path, name: str) -> int:
    for line in cgroups_end.read(str(path)).splitlines():
        key, _, value = line.partition(" ")
        if key == name:
            return int(value)
    return 0


def _write(path: Path, text: str) -> None:
    cgroups_end.write(str(path), text)


def _write_if_there(path: Path, text: str) -> bool:
    return cgroups_end.write_if_there(str(path), text)
