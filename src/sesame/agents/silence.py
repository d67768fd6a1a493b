"""How often a process was asked in vain whether it is there, and could have answered.

Used by the supervisor and by the writer, which have agents killed that hang. On a machine that is overloaded an agent
waits for a processor longer than it takes to tell a hanging one: to kill it then would cost yet more.
"""

import time
from collections.abc import Callable


class Silence:
    """`count` about once a second, for as long as there is no answer."""

    def __init__(
        self, waited_s: Callable[[int], float] | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """`waited_s` as `waited_for_processor_s`."""
        # POLICY: time in which the kernel had it wait for a processor does not count. One that stands still, or whose
        # event loop never comes back, is told by the time that it does not wait.
        self.times = 0.0
        self._look = waited_s or waited_for_processor_s
        self._clock = clock
        self._at = self._waited_s = 0.0

    def count(self, pid: int) -> None:
        """Once more in vain. Without a `pid`, of a process elsewhere, all time counts."""
        now, waited_s = self._clock(), self._look(pid) if pid else 0.0
        if not self.times:
            self.times = 1.0
        else:
            waited_share = (waited_s - self._waited_s) / max(now - self._at, 0.001) if pid else 0.0
            # The kernel tells of a wait when it is over, which may be a look later.
            self.times = max(self.times + 1.0 - waited_share, 1.0)
        self._at, self._waited_s = now, waited_s

    def answered(self) -> None:
        self.times = 0.0


def waited_for_processor_s(pid: int) -> float:
    """By its main thread, where its event loop is, since it began. 0 where nothing tells it."""
    try:
        with open(f"/proc/{pid}/schedstat", encoding="ascii") as file:
            return int(file.read().split()[1]) / 1e9
    except (OSError, ValueError, IndexError):
        return 0.0
