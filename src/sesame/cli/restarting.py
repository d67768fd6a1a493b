"""Carries what a restarting Sesame hands over through an `exec`: the process stays, its program begins anew.

Used by `sesame start`. The process keeps its number, so whoever started it (a shell, systemd, a container) notices
nothing. New code and new settings hold from then on.
"""

import asyncio
import json
import os
import signal
import sys
import tempfile
from collections.abc import Iterable
from typing import IO, NoReturn

import msgspec

from sesame.http.handover import Handed, Handover
from sesame.timed_programs import kill_group

TRIAL = "sesame.cli.trial"
# A busy machine takes some ten seconds to load it where no bytecode is kept.
TRIAL_TIMEOUT_S = 120.0
_RUN = (
    "import importlib, json, sys; sys.path[:0] = json.loads(sys.argv[2]); "
    "importlib.import_module(sys.argv[1]).run(json.loads(sys.argv[3]))"
)
# As of `cli.trial`, which is of the version that is installed by now.
_REFUSES = 4
_NEXT = "; mend the installation, and restart again"
LATE = f"what is installed did not load within {TRIAL_TIMEOUT_S:g} s{_NEXT}"

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


async def why_not(module: str = TRIAL) -> str:
    """Why what is installed by now cannot take this one's place, with the next step; "" where it can.

    Tried in a process that ends, with this one's command line, while calls are still served: an installation that is
    broken is no outage, and one that is new has its bytecode written here, which takes three times as long as to load
    it.
    """
    try:
        trying = await asyncio.create_subprocess_exec(
            *trial(module),
            stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE,
            process_group=0,
        )  # fmt: skip
    except OSError as error:
        return not_started(error)
    try:
        async with asyncio.timeout(TRIAL_TIMEOUT_S):
            _out, said = await trying.communicate()
    except TimeoutError:
        return LATE
    finally:
        if trying.returncode is None:
            kill_group(trying.pid)
            await trying.wait()
    return problem(trying.returncode or 0, said)


def trial(module: str = TRIAL) -> list[str]:
    """The command that tries whether what is installed by now can start as this process was started."""
    places = json.dumps(_first_place())
    return [sys.executable, *_as_this_interpreter(), "-c", _RUN, module, places, json.dumps(sys.argv[1:])]


def problem(code: int, said: bytes) -> str:
    """As of `why_not`, by how that command ended and what it said."""
    if not code:
        return ""
    last = said.decode(errors="replace").strip().rpartition("\n")[2] or f"it ended with status {code}"
    return last if code == _REFUSES else f"what is installed cannot be loaded: {last}{_NEXT}"


def not_started(error: OSError) -> str:
    """As of `why_not`, where the interpreter itself cannot be run."""
    return f"{sys.executable} cannot be started: {error.strerror}{_NEXT}"


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
