"""Finds and signals the processes of an instance from outside.

Used by `jail.instance`.
"""

import contextlib
import os
import signal
from pathlib import Path

from sesame.sandbox.jail.zygote_client import JailedProcess
from sesame.sandbox.memory import tree


def signal_tree(init: JailedProcess, number: signal.Signals) -> None:
    """Signals every process of the instance, process 1 too: a stopped instance must start no process anew."""
    for pid in tree(init.pid):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


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
