"""Carries what a restarting Sesame hands over through an `exec`: the process stays, its program begins anew.

Used by `sesame start`. The process keeps its number, so whoever started it (a shell, systemd, a container) notices
nothing. New code and new settings hold from then on.
"""

import os
import signal
import sys
import tempfile
from typing import IO, NoReturn

import msgspec

from sesame.http.handover import Handed, Handover

# What `sesame restart` sends. Not SIGHUP, which a terminal sends when it is closed.
ASKS = signal.SIGUSR2
# The process that it is for, and the descriptor of the file.
VARIABLE = "SESAME_HANDED_OVER"


def received() -> Handover:
    """What the program before this one, in the same process, has handed over; empty where there was none."""
    pid, _, fd = os.environ.pop(VARIABLE, "").partition(":")
    if pid != str(os.getpid()):
        return Handover()
    with open(int(fd), "rb") as file:
        handed = msgspec.json.decode(file.read(), type=list[Handed])
    for each in _descriptors(handed):
        os.set_inheritable(each, False)
    return Handover(handed)


def begin_anew(handover: Handover) -> NoReturn:
    """Starts the program again with its own command line. Everything in the process must have ended."""
    for each in _descriptors(handover.handed):
        os.set_inheritable(each, True)
    with _unnamed_file() as file:
        file.write(msgspec.json.encode(handover.handed))
        file.seek(0)
        os.set_inheritable(file.fileno(), True)
        sys.stdout.flush()
        sys.stderr.flush()
        environment = {**os.environ, VARIABLE: f"{os.getpid()}:{file.fileno()}"}
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], environment)


def _unnamed_file() -> IO[bytes]:
    """In memory, where the system has such files: the disk may be full."""
    if sys.platform == "linux":
        return os.fdopen(os.memfd_create("handed-over"), "w+b")
    return tempfile.TemporaryFile()


def ignore_requests() -> None:
    """From here until the next program takes requests, which inherits this: by default the signal ends a process."""
    signal.signal(ASKS, signal.SIG_IGN)


def _descriptors(handed: list[Handed]) -> list[int]:
    return [fd for each in handed for fd in (each.listening, *each.connections)]
