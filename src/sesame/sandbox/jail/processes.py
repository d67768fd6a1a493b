"""Finds and signals the processes of an instance, from outside.

Used by `jail.instance` and `jail.watch`. Process 1 of the instance is named by its number on the host.
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
# POLICY: an instance that stands still is looked at every so many turns only.
TURNS_BETWEEN_LOOKS = 100
# POLICY: an instance that was found running in so many looks although it was stopped is ended.
RUNNING_LOOKS_MAX = 300


class Stopping:
    """Tells whether a stopped instance stands still.

    It may not: a process that has not taken its stop yet can continue another one that has, and a timer of a function
    can continue its own process, over and over or much later.
    """

    def __init__(self, init: int) -> None:
        self._init = init
        self._seen: list[int] = []
        self._quiet_looks = 0
        self._running_looks = 0
        self._turns = 0

    @property
    def hopeless(self) -> bool:
        """It cannot be made to stand still."""
        return self._running_looks >= RUNNING_LOOKS_MAX

    def due(self) -> bool:
        """To be called at each turn. Whether the instance is to be looked at in this one."""
        self._turns += 1
        return self._quiet_looks < _QUIET_LOOKS or self._turns % TURNS_BETWEEN_LOOKS == 0

    def runs(self) -> bool:
        """Takes one look at the instance. Whether something of it runs.

        One look is not enough: it misses a process that is forked, and whose parent ends, while it is taken. Such a
        process has another number at the next look, so several in a row that find the same processes have missed none.
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
    """Whether more threads of these processes have a processor or want one. Looks at no more than it has to."""
    running = (thread for pid in pids for thread in _threads(pid) if _state(pid, thread) == "R")
    return len(list(itertools.islice(running, than + 1))) > than


def demote(pids: list[int]) -> None:
    """Gives every thread of these processes the lowest priority. They cannot undo it, and their children inherit it.

    Not SCHED_IDLE, which leaves others more: a crowd that is killed would then take seconds to end on a busy machine.
    """
    for pid in pids:
        for thread in _threads(pid):
            with contextlib.suppress(OSError):
                os.setpriority(os.PRIO_PROCESS, int(thread), LOWEST_PRIORITY)


def first_child(init: int) -> int:
    """The function's process, which is the only one that process 1 forks."""
    return int(Path(f"/proc/{init}/task/{init}/children").read_text().split()[0])


def signal_function(init: int, number: int) -> None:
    """Signals the function's process by descriptor, because its number may have gone to another process meanwhile."""
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
    """One letter, as ps shows it; X for a thread that has ended meanwhile."""
    try:
        stat = Path(f"/proc/{pid}/task/{thread}/stat").read_text(errors="replace")
        return stat.rpartition(")")[2].split()[0]
    except (OSError, IndexError):
        return "X"
