"""Runs a command that is killed when the process at the other end of a pipe ends, however that happens.

Run by `on_ray.node_process` as `python -m sesame.on_ray.lifeline FD COMMAND …`. A byte in the pipe asks the command to
shut down gracefully (SIGTERM); the pipe's end kills it. Exits with the command's code, or 128 plus the signal that
ended it.
"""

import contextlib
import ctypes
import os
import selectors
import signal
import sys
from collections.abc import Sequence

from sesame.model.exit_codes import EXIT_SIGNALLED

# Any byte would do.
ASKS_TO_END = b"T"
# The exit code with which a shell reports that a program could not be started.
EXIT_NOT_STARTED = 127
TO_END = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
# From linux/prctl.h.
_PR_SET_PDEATHSIG = 1


def run(pipe: int, command: Sequence[str]) -> int:
    """Runs the command and returns its exit code. Its process group is killed when it has ended."""
    wakes, woken = os.pipe()
    os.set_blocking(woken, False)
    signal.set_wakeup_fd(woken)
    signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
    # Ctrl-C and similar signals are handled by the process at the other end of the pipe. They are blocked during the
    # fork, because one that arrived before the command has set up its handlers would be lost.
    signal.pthread_sigmask(signal.SIG_BLOCK, TO_END)
    child = _start(command)
    for number in TO_END:
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, TO_END)
    with selectors.DefaultSelector() as selector:
        selector.register(pipe, selectors.EVENT_READ)
        selector.register(wakes, selectors.EVENT_READ)
        while True:
            for key, _events in selector.select():
                if key.fd == pipe:
                    asked = os.read(pipe, 64)
                    _signal(child, signal.SIGTERM if asked else signal.SIGKILL)
                    if not asked:
                        selector.unregister(pipe)
                else:
                    os.read(wakes, 64)
            pid, status = os.waitpid(child, os.WNOHANG)
            if pid:
                # Kills whatever the command left running.
                _signal(child, signal.SIGKILL)
                code = os.waitstatus_to_exitcode(status)
                return code if code >= 0 else EXIT_SIGNALLED - code


def _start(command: Sequence[str]) -> int:
    parent = os.getpid()
    child = os.fork()
    if child:
        # The child does the same: it must lead its group before either goes on, else the group cannot be killed yet.
        # It has ended, or has replaced its program and done so itself, where this fails.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.setpgid(child, child)
        return child
    try:
        os.setpgid(0, 0)
        signal.set_wakeup_fd(-1)
        for number in (*TO_END, signal.SIGCHLD):
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        if sys.platform == "linux":
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        # Ray lowers the priority of what it runs; only a privileged user may raise it again (docs/cluster.md).
        with contextlib.suppress(PermissionError):
            os.setpriority(os.PRIO_PROCESS, 0, 0)
        if os.getppid() == parent:
            os.execvp(command[0], [*command])
    except OSError as error:
        sys.stderr.write(f"cannot start {command[0]}: {error.strerror}\n")
        sys.stderr.flush()
    finally:
        os._exit(EXIT_NOT_STARTED)


def _signal(child: int, number: signal.Signals) -> None:
    """Sends SIGKILL to the whole group, any other signal only to the command, which ends its own children."""
    try:
        if number == signal.SIGKILL:
            os.killpg(child, number)
        else:
            os.kill(child, number)
    except ProcessLookupError:
        return


if __name__ == "__main__":
    sys.exit(run(int(sys.argv[1]), sys.argv[2:]))
