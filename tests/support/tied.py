"""Servers that end with the process that has started them, so that a test run that is killed leaves none behind.

Used by the servers of tests, PostgreSQL and SeaweedFS.
"""

import ctypes
import os
import signal
from collections.abc import Callable

_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None, use_errno=True)


def to_this_process(number: signal.Signals) -> Callable[[], None]:
    """For `preexec_fn` of `subprocess.Popen`: Linux sends the signal when the thread that starts the server has ended.

    That thread must live as long as the server: the main one, or one of an executor that is closed later.
    """
    parent = os.getpid()

    def tie() -> None:
        if _LIBC.prctl(_PR_SET_PDEATHSIG, int(number)) != 0 or os.getppid() != parent:
            os._exit(1)

    return tie
