"""Runs a command that ends when whoever holds the other end of a pipe does, however that ends.

Run by `on_ray.node_process` as `python -m sesame.on_ray.lifeline FD COMMAND …`. Reads the pipe: a byte asks the command
to end in peace (SIGTERM), the pipe's end kills it. Exits with the command's code, or 128 and the signal that ended it.
"""

import contextlib
import ctypes
import os
import selectors
import signal
import sys
from collections.abc import Sequence

from sesame.model.exit_codes import EXIT_SIGNALLED

# Any byte does.
ASKS_TO_END = b"T"
# As a shell says that a program could not be started.
EXIT_NOT_STARTED = 127
TO_END = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
# From linux/prctl.h.
_PR_SET_PDEATHSIG = 1


def run(pipe: int, command: Sequence[str]) -> int:
    """The exit code. The command leads a process group of its own, which is killed with it."""
    wakes, woken = os.pipe()
    os.set_blocking(woken, False)
    signal.set_wakeup_fd(woken)
    signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
    # Ctrl-C and the like are for whoever holds the pipe, and come here through it. They are held back meanwhile, as one
    # that came to the command before it has its own way with signals would be lost.
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
                # What it left behind.
                _signal(child, signal.SIGKILL)
                code = os.waitstatus_to_exitcode(status)
                return code if code >= 0 else EXIT_SIGNALLED - code


def _start(command: Sequence[str]) -> int:
    parent = os.getpid()
    child = os.fork()
    if child:
        return child
    try:
        os.setpgid(0, 0)
        signal.set_wakeup_fd(-1)
        for number in (*TO_END, signal.SIGCHLD):
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        if sys.platform == "linux":
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        # Ray starts what it runs with a low priority; an ordinary user may not raise it again (docs/cluster.md).
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
    """To the group when it is killed; in peace to the command alone, which ends what it has started."""
    try:
        if number == signal.SIGKILL:
            os.killpg(child, number)
        else:
            os.kill(child, number)
    except ProcessLookupError:
        return


if __name__ == "__main__":
    sys.exit(run(int(sys.argv[1]), sys.argv[2:]))
