"""Counts how often in a row a process did not answer a check although it could have run.

Used by the supervisor and by the writer to find agents that hang. On an overloaded machine an agent may wait for a
processor longer than the limit for hanging agents; killing it would only add to the load.
"""

import time
from collections.abc import Callable


class Silence:
    """Call `count` about once a second while there is no answer, and `answered` once there is one."""

    def __init__(
        self, waited_s: Callable[[int], float] | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """`waited_s` replaces `waited_for_processor_s` in tests."""
        # Checks without an answer. POLICY: time during which the process was runnable but waited for a processor does
        # not count. A stopped process, or one whose event loop is blocked, is recognized because it does not wait so.
        self.times = 0.0
        self._look = waited_s or waited_for_processor_s
        self._clock = clock
        self._at = self._waited_s = 0.0

    def count(self, pid: int) -> None:
        """Counts one more check without an answer. A `pid` of 0 is a process on another machine: all time counts."""
        now, waited_s = self._clock(), self._look(pid) if pid else 0.0
        if not self.times:
            self.times = 1.0
        else:
            waited_share = (waited_s - self._waited_s) / max(now - self._at, 0.001) if pid else 0.0
            # The kernel accounts for a wait only when it ends, possibly after the next check; so never below 1.
            self.times = max(self.times + 1.0 - waited_share, 1.0)
        self._at, self._waited_s = now, waited_s

    def answered(self) -> None:
        self.times = 0.0


def waited_for_processor_s(pid: int) -> float:
    """Seconds that the main thread, which runs the event loop, has waited for a processor since it started.

    0 if the kernel does not tell (/proc/PID/schedstat).
    """
    try:
        with open(f"/proc/{pid}/schedstat", encoding="ascii") as file:
            return int(file.read().split()[1]) / 1e9
    except (OSError, ValueError, IndexError):
        return 0.0
