"""How busy this process's event loop and the machine are, as the kernel counts.

Made by `_async`, asked by `engine.async_pace` on the event loop's thread.
"""

import time

import psutil


class HostLoad:
    """Each sample tells of the time since the one before."""

    def __init__(self) -> None:
        self._cores = psutil.cpu_count() or 1
        self._loop = time.thread_time()
        self._total, self._idle = _machine()

    def sample(self) -> float:
        """The busier of loop and machine, 0 to 1. The event loop is busy while its thread runs."""
        loop = time.thread_time()
        total, idle = _machine()
        passed = max(total - self._total, 1e-6)
        of_loop = (loop - self._loop) * self._cores / passed
        of_machine = 1 - (idle - self._idle) / passed
        self._loop, self._total, self._idle = loop, total, idle
        return min(max(of_loop, of_machine, 0.0), 1.0)


def _machine() -> tuple[float, float]:
    """Seconds of all processors since the start of the machine, and those of them without work."""
    times = psutil.cpu_times()
    # Time of guests is in the users' time, too.
    total = sum(times) - getattr(times, "guest", 0.0) - getattr(times, "guest_nice", 0.0)
    return total, times.idle + getattr(times, "iowait", 0.0)
