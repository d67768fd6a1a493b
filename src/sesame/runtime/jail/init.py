"""Process 1 of an instance: reaps every process that ends, and ends when the function's process does.

Entered by steps.py after everything that needs privileges is done; runs no user code. When process 1 of a pid namespace
ends, the kernel kills every process in it, so that nothing of an instance outlives its function.

Where no cgroup can freeze the instance, the host has process 1 stop and continue all of it: only from within the
namespace does one system call reach every process, so that a chain of forks cannot run away from it. It also has
process 1 end all but the function's own process, which has the processors then, to say what it was doing.
"""

import errno
import os
import signal

import linux

# The orders of the host, each a message of one byte (sandbox/jail/zygote_client.py).
STOP, RESUME, END_CROWD = b"s", b"r", b"c"
_SIGNALS = {STOP: signal.SIGSTOP, RESUME: signal.SIGCONT}
_EVERY_OTHER = -1
# A timer can have a process continue itself, and it may have forked then: what it made is found at the next look.
_LOOKS_AT_CROWD = 3
# POLICY: orders are looked for after so many ended processes, so that a storm of forks cannot hold them up.
_REAPED_AT_ONCE = 64
_RECORD_BYTES = 128


def run(handler, orders):
    """Waits for the process `handler`. Does not return.

    `orders` is the host's socket, of which no other process of the instance has a descriptor.
    """
    # SAFETY: Nothing but an order has an effect here. The kernel drops what the function sends to process 1 of its
    # namespace, unless there is a handler for it; SIGCHLD, of which it could send any number, only has processes reaped.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    ended = linux.descriptor_of_signals([signal.SIGCHLD])
    waited_for = [ended, orders]
    more = True
    while True:
        ready = linux.readable(waited_for, wait=not more)
        if any(ready[1:]) and not _obey(orders, handler):
            # The host has no orders for this instance any more.
            waited_for = [ended]
        if ready[0]:
            os.read(ended, _RECORD_BYTES)
        more = _reap(handler)


def _obey(orders, handler):
    """Does what the next order says. False at the end of the orders."""
    order = os.read(orders, 1)
    if order == END_CROWD:
        _end_crowd(handler)
    elif order:
        _signal(_EVERY_OTHER, _SIGNALS[order])
    return bool(order)


def _end_crowd(handler):
    """Kills every process but the function's own, which can make no more.

    All are stopped first, by one system call that also reaches what is just being forked: so nothing is forked between
    a look and its kills, and nobody of the crowd takes a processor from those that end.
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
    """Returns whether further processes may have ended."""
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
