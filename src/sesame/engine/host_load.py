"""Measures how busy this process and the machine are, from the kernel's counters.

Created by `_async`, sampled by `engine.async_pace` on the event loop's thread.
"""

import time

import msgspec
import psutil


class Counters(msgspec.Struct, frozen=True):
    """All in seconds: the time; the processor time of this process and of all processors; the idle processor time."""

    at: float
    process: float
    total: float
    idle: float


class HostLoad:
    """Each sample covers the time since the previous one."""

    def __init__(self) -> None:
        self._before = _counters()

    def sample(self) -> float:
        """Returns the load since the last sample, see `load_between`."""
        before, self._before = self._before, _counters()
        return load_between(before, self._before)


def load_between(before: Counters, after: Counters) -> float:
    """The load of the process or of the machine, whichever is higher, 0 to 1.

    The process counts as fully busy when all its threads together use one processor. They share the interpreter's lock,
    so the time used by the database thread is not available to the event loop either.
    """
    of_process = (after.process - before.process) / max(after.at - before.at, 1e-6)
    of_machine = 1 - (after.idle - before.idle) / max(after.total - before.total, 1e-6)
    return min(max(of_process, of_machine, 0.0), 1.0)


def _counters() -> Counters:
    times = psutil.cpu_times()
    # Guest time is already included in user time.
    total = sum(times) - getattr(times, "guest", 0.0) - getattr(times, "guest_nice", 0.0)
    return Counters(time.monotonic(), time.process_time(), total, times.idle + getattr(times, "iowait", 0.0))
