"""Measures the memory of an instance, its main process and everything below it, by the kernel's counts.

Used by the drivers after a call and at intervals. Never asks the instance itself, which could lie.

The reported memory, in MB of 2**20 bytes, is the larger of
    the highest resident set of the main process (`VmHWM`, which also covers short peaks between two looks), and
    the highest sum over the whole tree found by any look: resident sets, page tables and swapped pages.
Resident sets include the interpreter's own pages (about 10 MB). Pages shared by several processes of one instance count
once per process; before an instance is ended for that, proportional set sizes are used instead.
"""

import contextlib
import os
import sys
import time

import msgspec
import psutil

MIB = 1024 * 1024
SHORT_CALL_S = 0.002
LOOK_EVERY_S = 0.1
# How often a driver without a memory cgroup measures each instance that is not frozen.
MEMORY_WATCH_S = 0.1

_LINUX = sys.platform.startswith("linux")
_STATUS_BYTES = 4096
_HELD = (b"VmRSS", b"VmPTE", b"VmSwap")
_HELD_PROPORTIONALLY = (b"Pss", b"SwapPss")


class Census(msgspec.Struct, frozen=True):
    """What the processes of an instance held when they were examined."""

    pids: tuple[int, ...]
    memory_mb: float
    threads: int
    descriptors: int


class Gauge:
    """The memory of one process tree. Keeps a descriptor open until `close`, so that a reading is one system call."""

    def __init__(self, pid: int, *, init: int | None = None) -> None:
        """`pid` is the main process. With `init`, the instance consists of all descendants of that process."""
        self._pid = pid
        self._init = init
        self._peak_mb = 0.0
        self._looked = 0.0
        self._status = os.open(f"/proc/{pid}/status", os.O_RDONLY | os.O_CLOEXEC) if _LINUX else -1

    @property
    def peak_mb(self) -> float:
        """The highest memory found so far, in MB."""
        return self._peak_mb

    def look_after_call(self, began: float) -> float:
        """Measures the main process after a call that began at this monotonic time. Returns the peak.

        After calls of a few milliseconds it measures only every `LOOK_EVERY_S`: such calls are too short to fill much
        memory, and a reading costs a tenth of a warm call.
        """
        now = time.monotonic()
        if now - began > SHORT_CALL_S or now - self._looked > LOOK_EVERY_S:
            self._looked = now
            self.look_at_main()
        return self._peak_mb

    def look_at_main(self) -> float:
        """Measures only the main process. Returns the peak."""
        self._peak_mb = max(self._peak_mb, self._main_mb())
        return self._peak_mb

    def look_at_tree(self, limit_mb: float) -> float:
        """Measures every process of the instance and returns what they hold now.

        If the plain sum exceeds `limit_mb`, shared pages are counted once.
        """
        if not _LINUX:
            return self.look_at_main()
        return self.note(self.census(self.processes(), limit_mb))

    def processes(self) -> list[int]:
        """The instance's pids. Does not change this object, so it may be called in a thread. Requires Linux."""
        return tree(self._pid) if self._init is None else tree(self._init)[1:]

    def census(self, pids: list[int], limit_mb: float) -> Census:
        """Measures these processes; shared pages count once if the plain sum exceeds the limit.

        May be called in a thread, like `processes`.
        """
        return _census(pids, limit_mb)

    def note(self, found: Census) -> float:
        """Updates the peak from a census. Returns the census's memory."""
        self._peak_mb = max(self._peak_mb, found.memory_mb, self._main_mb())
        return found.memory_mb

    def close(self) -> None:
        if self._status >= 0:
            os.close(self._status)
            self._status = -1

    def _main_mb(self) -> float:
        if not _LINUX:
            try:
                return float(psutil.Process(self._pid).memory_info().rss) / MIB
            except psutil.Error:
                return 0.0
        if self._status < 0:
            return 0.0
        try:
            status = os.pread(self._status, _STATUS_BYTES, 0)
        except ProcessLookupError:
            return 0.0
        at = status.find(b"VmHWM:")
        # An exiting process has no memory any more.
        return int(status[at + 6 : status.index(b"kB", at)]) / 1024 if at >= 0 else 0.0


def tree(root: int) -> list[int]:
    """`root` and all its living descendants."""
    found, ahead = [], [root]
    while ahead:
        pid = ahead.pop()
        found.append(pid)
        try:
            threads = os.listdir(f"/proc/{pid}/task")
        except OSError:
            continue
        for thread in threads:
            ahead.extend(int(child) for child in _read(f"/proc/{pid}/task/{thread}/children").split())
    return found


def _census(pids: list[int], limit_mb: float) -> Census:
    held_kb, tables_kb, threads = 0, 0, 0
    for pid in pids:
        status = _fields(f"/proc/{pid}/status", (*_HELD, b"Threads"))
        held_kb += sum(status.get(name, 0) for name in _HELD)
        tables_kb += status.get(b"VmPTE", 0)
        threads += status.get(b"Threads", 0)
    if held_kb / 1024 > limit_mb and len(pids) > 1:
        rollups = (_fields(f"/proc/{pid}/smaps_rollup", _HELD_PROPORTIONALLY) for pid in pids)
        held_kb = tables_kb + sum(sum(rollup.values()) for rollup in rollups)
    return Census(tuple(pids), held_kb / 1024, threads, sum(map(_descriptors, pids)))


def _fields(path: str, wanted: tuple[bytes, ...]) -> dict[bytes, int]:
    """The wanted numbers of a /proc file, by name; empty if the process has ended."""
    found = {}
    for line in _read(path).splitlines():
        name, _, value = line.partition(b":")
        if name in wanted:
            found[name] = int(value.split()[0])
    return found


def _descriptors(pid: int) -> int:
    with contextlib.suppress(OSError):
        # Since Linux 6.2 the directory's size is the number of descriptors.
        return os.stat(f"/proc/{pid}/fd").st_size or len(os.listdir(f"/proc/{pid}/fd"))
    return 0


def _read(path: str) -> bytes:
    """The contents of a /proc file; empty if the process has ended."""
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError:
        return b""
