"""Carries what a restarting Sesame hands over through an `exec`: the process stays, its program begins anew.

Used by `sesame start`. The process keeps its number, so whoever started it (a shell, systemd, a container) notices
nothing. New code and new settings hold from then on.
"""

import asyncio
import os
import signal
import sys
import tempfile
from collections.abc import Iterable
from typing import IO, NoReturn

import msgspec

from sesame.http.handover import Handed, Handover

PROGRAM = "sesame.cli.start"
# A busy machine takes some ten seconds for it where no bytecode is kept.
LOAD_TIMEOUT_S = 120.0
_LOAD = "import importlib, sys; sys.path[:0] = sys.argv[2:]; importlib.import_module(sys.argv[1])"

# What `sesame restart` sends. Not SIGHUP, which a terminal sends when it is closed.
ASKS = signal.SIGUSR2
# The process that it is for, and the descriptor of the file.
VARIABLE = "SESAME_HANDED_OVER"
# The same from a supervisor of several agents.
AGENTS_KEPT = "SESAME_KEPT_AGENTS"


def received() -> Handover:
    """What the program before this one, in the same process, has handed over; empty where there was none."""
    pid, _, fd = os.environ.pop(VARIABLE, "").partition(":")
    if pid != str(os.getpid()):
        return Handover()
    handed = msgspec.json.decode(read(int(fd)), type=list[Handed])
    for each in _descriptors(handed):
        os.set_inheritable(each, False)
    return Handover(handed)


def read(fd: int) -> bytes:
    """What the program before this one has written for it."""
    with open(fd, "rb") as file:
        return file.read()


async def why_not_loaded(module: str = PROGRAM) -> str:
    """Loads the program as it is installed by now, in a process that ends; what goes wrong, or "".

    Calls are still served then: an installation that is broken is no outage, and one that is new has its bytecode
    written here, which takes three times as long as to load it.
    """
    loading = await asyncio.create_subprocess_exec(
        *loads(module),
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        async with asyncio.timeout(LOAD_TIMEOUT_S):
            _out, said = await loading.communicate()
    except TimeoutError:
        return f"it did not load within {LOAD_TIMEOUT_S:g} s"
    finally:
        if loading.returncode is None:
            loading.kill()
            await loading.wait()
    return problem(loading.returncode or 0, said)


def loads(module: str) -> list[str]:
    """The command that loads a part of the program as it is installed by now."""
    return [sys.executable, *_as_this_interpreter(), "-c", _LOAD, module, *_first_place()]


def problem(code: int, said: bytes) -> str:
    """Why it was not loaded, or "", by how that command ended and what it said."""
    return (said.decode(errors="replace").strip().rpartition("\n")[2] or f"it ended with status {code}") if code else ""


def _as_this_interpreter() -> list[str]:
    """Options, so that a process finds what the program anew will find, and nothing in the working directory."""
    flags = {"-E": sys.flags.ignore_environment, "-s": sys.flags.no_user_site}
    return ["-P", *(flag for flag, given in flags.items() if given)]


def _first_place() -> list[str]:
    """Where an interpreter that was started as this one was looks for modules first."""
    return [] if sys.flags.safe_path else sys.path[:1]


def begin_anew(handover: Handover) -> NoReturn:
    """Starts the program again with its own command line. Everything in the process must have ended."""
    begin(VARIABLE, msgspec.json.encode(handover.handed), _descriptors(handover.handed))


def begin(variable: str, written: bytes, descriptors: Iterable[int]) -> NoReturn:
    """Starts the program again, which finds by this variable what was `written` for it. Raises `OSError`."""
    for each in descriptors:
        os.set_inheritable(each, True)
    with _unnamed_file() as file:
        file.write(written)
        file.seek(0)
        os.set_inheritable(file.fileno(), True)
        sys.stdout.flush()
        sys.stderr.flush()
        environment = {**os.environ, variable: f"{os.getpid()}:{file.fileno()}"}
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
