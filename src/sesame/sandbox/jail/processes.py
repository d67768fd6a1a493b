"""Finds and signals the processes of an instance from outside.

Used by `jail.instance` and `jail.watch`. `init`, the instance's process 1, is given by its pid on the host.
"""

import contextlib
import itertools
import os
import signal
from pathlib import Path

from sesame.sandbox.memory import tree

LOWEST_PRIORITY = 19
_STANDS_STILL = frozenset("TtZX")
_QUIET_LOOKS = 3
# POLICY: a stopped instance is examined only once in this many rounds.
TURNS_BETWEEN_LOOKS = 100
# POLICY: an instance found running this many times although it was stopped is ended.
RUNNING_LOOKS_MAX = 300


class Stopping:
    """Whether all processes of a stopped instance are really stopped.

    A process that has not yet received its stop signal can continue one that has, and a function's timer can continue
    its own process, repeatedly or much later.
    """

    def __init__(self, init: int) -> None:
        self._init = init
        self._seen: list[int] = []
        self._quiet_looks = 0
        self._running_looks = 0
        self._turns = 0

    @property
    def hopeless(self) -> bool:
        """Whether the instance evidently cannot be stopped."""
        return self._running_looks >= RUNNING_LOOKS_MAX

    def due(self) -> bool:
        """Whether to examine the instance in this turn. Must be called once per turn."""
        self._turns += 1
        return self._quiet_looks < _QUIET_LOOKS or self._turns % TURNS_BETWEEN_LOOKS == 0

    def runs(self) -> bool:
        """Examines the instance once. Returns whether anything in it runs.

        One examination is not enough: it misses a process that is forked, and whose parent ends, while it is under way.
        Such a process has a new pid the next time, so several examinations in a row with the same pids have missed
        none.
        """
        found = sorted(tree(self._init))
        runs = any(
            _state(pid, thread) not in _STANDS_STILL for pid in found if pid != self._init for thread in _threads(pid)
        )
        self._quiet_looks = self._quiet_looks + 1 if not runs and found == self._seen else 0
        self._running_looks += runs
        self._seen = found
        return runs


def more_run(pids: list[int], than: int) -> bool:
    """Whether more than `than` threads of these processes are running or runnable.

    Stops counting once it is certain.
    """
    running = (thread for pid in pids for thread in _threads(pid) if _state(pid, thread) == "R")
    return len(list(itertools.islice(running, than + 1))) > than


def demote(pids: list[int]) -> None:
    """Gives all threads of these processes the lowest priority, which they cannot undo and their children inherit.

    Not SCHED_IDLE, which yields even more: on a busy machine, killed processes would then take seconds to end.
    """
    for pid in pids:
        for thread in _threads(pid):
            with contextlib.suppress(OSError):
                os.setpriority(os.PRIO_PROCESS, int(thread), LOWEST_PRIORITY)


def first_child(init: int) -> int:
    """The function's process, which is the only one that process 1 forks."""
    return int(Path(f"/proc/{init}/task/{init}/children").read_text().split()[0])


def signal_function(init: int, number: int) -> None:
    """Signals the function's process through a pidfd, because its pid may have been reused."""
    with contextlib.suppress(OSError, IndexError):
        pid = first_child(init)
        descriptor = os.pidfd_open(pid)
        try:
            if first_child(init) == pid:
                signal.pidfd_send_signal(descriptor, number)
        finally:
            os.close(descriptor)


def _threads(pid: int) -> list[str]:
    try:
        return os.listdir(f"/proc/{pid}/task")
    except OSError:
        return []


def _state(pid: int, thread: int | str) -> str:
    """The state letter as ps shows it; X if the thread has ended."""
    try:
        stat = Path(f"/proc/{pid}/task/{thread}/stat").read_text(errors="replace")
        return stat.rpartition(")")[2].split()[0]
    except (OSError, IndexError):
        return "X"
