"""Process 1 of an instance: reaps every process that ends, and exits when the function's process does.

Entered by steps.py once everything that needs privileges is done; runs no user code. When process 1 of a pid namespace
exits, the kernel kills all processes in it, so that nothing of an instance outlives its function.

If no cgroup can freeze the instance, the host has process 1 stop and continue it: only from inside the namespace can
one system call reach all processes, so that a chain of forks cannot escape. The host also has process 1 kill everything
but the function's own process, which then has the processors to itself to log its stacks.
"""

import errno
import os
import signal

import linux

# The host's orders, each a message of one byte (sandbox/jail/zygote_client.py).
STOP, RESUME, END_CROWD = b"s", b"r", b"c"
_SIGNALS = {STOP: signal.SIGSTOP, RESUME: signal.SIGCONT}
_EVERY_OTHER = -1
# A timer may continue a stopped process, which may then fork; its children are found at the next look.
_LOOKS_AT_CROWD = 3
# POLICY: check for orders after reaping this many processes, so that a storm of forks cannot delay them.
_REAPED_AT_ONCE = 64
_RECORD_BYTES = 128


def run(handler, orders):
    """Waits for the process `handler`. Does not return.

    `orders` is the host's socket; no other process of the instance has a descriptor of it.
    """
    # SAFETY: Only orders have an effect here. The kernel drops signals that the function sends to process 1 of its
    # namespace, unless there is a handler; SIGCHLD, which it can send in any number, only makes process 1 reap.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    ended = linux.descriptor_of_signals([signal.SIGCHLD])
    waited_for = [ended, orders]
    may_have_more = True
    while True:
        ready = linux.readable(waited_for, wait=not may_have_more)
        if any(ready[1:]) and not _obey(orders, handler):
            # The host will send no more orders.
            waited_for = [ended]
        if ready[0]:
            os.read(ended, _RECORD_BYTES)
        may_have_more = _reap(handler)


def _obey(orders, handler):
    """Executes the next order. Returns False at the end of the orders."""
    order = os.read(orders, 1)
    if order == END_CROWD:
        _end_crowd(handler)
    elif order:
        _signal(_EVERY_OTHER, _SIGNALS[order])
    return bool(order)


def _end_crowd(handler):
    """Kills all processes except the function's own, which cannot create new ones any more.

    All are first stopped by one system call, which also reaches processes that are just being forked. So nothing is
    forked between a look and its kills, and no stopped process competes with those being killed.
    """
    linux.limit_processes(handler, 0)
    _signal(_EVERY_OTHER, signal.SIGSTOP)
    own, ended = {str(handler), str(os.getpid())}, set()
    for _ in range(_LOOKS_AT_CROWD):
        found = {name for name in os.listdir("/proc") if name.isdigit()} - own - ended
        if not found:
            break
        for name in found:
            _signal(int(name), signal.SIGKILL)
        ended |= found
    _signal(handler, signal.SIGCONT)


def _reap(handler):
    """Returns whether more processes may have ended."""
    for _ in range(_REAPED_AT_ONCE):
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except OSError as error:
            if error.errno == errno.EINTR:
                continue
            os._exit(1)
        if pid == handler:
            os._exit(os.WEXITSTATUS(status) if os.WIFEXITED(status) else 128 + os.WTERMSIG(status))
        if not pid:
            return False
    return True


def _signal(target, number):
    try:
        os.kill(target, number)
    except OSError as error:
        # The function's process has just ended.
        if error.errno != errno.ESRCH:
            raise
