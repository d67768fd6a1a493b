"""How busy this process and the machine are, as the kernel counts.

Made by `_async`, asked by `engine.async_pace` on the event loop's thread.
"""

import time

import msgspec
import psutil


class Counters(msgspec.Struct, frozen=True):
    """Seconds: the time, the processor time of this process, of all processors, and of those without work."""

    at: float
    process: float
    total: float
    idle: float


class HostLoad:
    """Each sample tells of the time since the one before."""

    def __init__(self) -> None:
        self._before = _counters()

    def sample(self) -> float:
        """As `load_between`."""
        before, self._before = self._before, _counters()
        return load_between(before, self._before)


def load_between(before: Counters, after: Counters) -> float:
    """The busier of process and machine, 0 to 1.

    The process is busy when all of its threads together use one processor. They share the interpreter's lock: what the
    database's thread takes, the event loop lacks, and would seem to have left if its own time alone were counted.
    """
    of_process = (after.process - before.process) / max(after.at - before.at, 1e-6)
    of_machine = 1 - (after.idle - before.idle) / max(after.total - before.total, 1e-6)
    return min(max(of_process, of_machine, 0.0), 1.0)


def _counters() -> Counters:
    times = psutil.cpu_times()
    # Time of guests is in the users' time, too.
    total = sum(times) - getattr(times, "guest", 0.0) - getattr(times, "guest_nice", 0.0)
    return Counters(time.monotonic(), time.process_time(), total, times.idle + getattr(times, "iowait", 0.0))
