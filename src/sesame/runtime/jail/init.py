"""Process 1 of an instance: reaps every process that ends, and ends when the function's process does.

Entered by steps.py after everything that needs privileges is done; runs no user code. When process 1 of a pid namespace
ends, the kernel kills every process in it, so that nothing of an instance outlives its function.

Where no cgroup can freeze the instance, the host has process 1 stop and continue all of it: only from within the
namespace does one system call reach every process, so that a chain of forks cannot run away from it.
"""

import errno
import os
import signal
import struct

import linux

# signalfd(2): ssi_signo, ssi_errno, ssi_code and ssi_pid of a record of this size.
_RECORD, _RECORD_BYTES = "<IiiI", 128
_EVERY_OTHER = -1
# Of kill(2), and of pidfd_send_signal(2) without an info: the kernel names the sender. Who queues a signal with an info
# of its own writes any sender into it, but the kernel refuses this code in one.
_SI_USER = 0


def run(handler):
    """Waits for the process `handler`. Does not return."""
    signals = linux.descriptor_of_signals([signal.SIGCHLD, signal.SIGTSTP, signal.SIGCONT], wait=True)
    while True:
        _reap(handler)
        number, code, sender = _next(signals)
        if number == signal.SIGTSTP:
            _signal_all(signal.SIGSTOP)
        # SAFETY: Zero is a sender outside the namespace. A process of the function could send this one ahead of time.
        # It does not hold that a function never disturbs its own freezing: before Linux 6.12, which has scopes of
        # signals, one of its processes can send a SIGCONT that takes a waiting SIGTSTP away, or the place of the host's.
        elif number == signal.SIGCONT and code == _SI_USER and sender == 0:
            _signal_all(signal.SIGCONT)


def _reap(handler):
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except OSError as error:
            if error.errno == errno.EINTR:
                continue
            os._exit(1)
        if pid == handler:
            os._exit(os.WEXITSTATUS(status) if os.WIFEXITED(status) else 128 + os.WTERMSIG(status))
        if not pid:
            return


def _next(signals):
    """The number of the next signal, its code, and its sender's process id in this namespace. Waits for it."""
    while True:
        try:
            record = os.read(signals, _RECORD_BYTES)
        except OSError as error:
            if error.errno != errno.EINTR:
                raise
        else:
            number, _error, code, sender = struct.unpack_from(_RECORD, record)
            return number, code, sender


def _signal_all(number):
    try:
        os.kill(_EVERY_OTHER, number)
    except OSError as error:
        # The function's process has just ended.
        if error.errno != errno.ESRCH:
            raise
