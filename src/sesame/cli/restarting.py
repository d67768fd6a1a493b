"""Carries the state of a restarting Sesame through an `exec`, which replaces the program but keeps the process.

Used by `sesame start`. The process id stays the same, so whoever started it (a shell, systemd, a container) notices
nothing. The new program uses the current code and settings.
"""

import asyncio
import json
import os
import signal
import sys
import tempfile
from collections.abc import Iterable
from typing import IO

import msgspec

from sesame.http.handover import Handed, Handover
from sesame.timed_programs import kill_group

TRIAL = "sesame.cli.trial"
# Without cached bytecode, a busy machine takes about ten seconds to load the program.
TRIAL_TIMEOUT_S = 120.0
_RUN = (
    "import importlib, json, sys; sys.path[:0] = json.loads(sys.argv[2]); "
    "importlib.import_module(sys.argv[1]).run(json.loads(sys.argv[3]))"
)
# The exit code of `cli.trial` for a refusal, in the version now installed.
_REFUSES = 4
_NEXT = "; repair the installation, and restart again"
LATE = f"what is installed did not load within {TRIAL_TIMEOUT_S:g} s{_NEXT}"

# The signal sent by `sesame restart`. Not SIGHUP, which a closing terminal sends.
ASKS = signal.SIGUSR2
# Holds the process id for which it is set, and the file descriptor.
VARIABLE = "SESAME_HANDED_OVER"
# The same for a supervisor of several agents.
AGENTS_KEPT = "SESAME_KEPT_AGENTS"


def received() -> Handover:
    """The state handed over by the previous program in this process; empty if there was none."""
    pid, _, fd = os.environ.pop(VARIABLE, "").partition(":")
    if pid != str(os.getpid()):
        return Handover()
    handed = msgspec.json.decode(read(int(fd)), type=list[Handed])
    for each in _descriptors(handed):
        os.set_inheritable(each, False)
    return Handover(handed)


def read(fd: int) -> bytes:
    """Reads what the previous program wrote for this one."""
    with open(fd, "rb") as file:
        return file.read()


async def why_not(module: str = TRIAL) -> str:
    """Why the installed version cannot replace this program, with the next step; "" if it can.

    Tries it with this command line in a separate process while calls are still served. A broken installation therefore
    causes no outage, and a new one gets its bytecode compiled, which takes three times as long as loading it.
    """
    try:
        trying = await asyncio.create_subprocess_exec(
            *trial(module),
            stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE,
            start_new_session=True,  # uvloop knows no `process_group`.
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
    """The command that tries whether the installed version can start like this process."""
    places = json.dumps(_first_place())
    return [sys.executable, *_as_this_interpreter(), "-c", _RUN, module, places, json.dumps(sys.argv[1:])]


def problem(code: int, said: bytes) -> str:
    """Like `why_not`, from that command's exit code and output."""
    if not code:
        return ""
    last = said.decode(errors="replace").strip().rpartition("\n")[2] or f"it ended with status {code}"
    return last if code == _REFUSES else f"what is installed cannot be loaded: {last}{_NEXT}"


def not_started(error: OSError) -> str:
    """Like `why_not`, if the interpreter itself cannot be executed."""
    return f"{sys.executable} cannot be started: {error.strerror}{_NEXT}"


def _as_this_interpreter() -> list[str]:
    """Interpreter options that give a process the restarted program's module path, without the working directory."""
    flags = {"-E": sys.flags.ignore_environment, "-s": sys.flags.no_user_site}
    return ["-P", *(flag for flag, given in flags.items() if given)]


def _first_place() -> list[str]:
    """The first entry of the module path in an interpreter started like this one."""
    return [] if sys.flags.safe_path else sys.path[:1]


def begin_anew(handover: Handover) -> str:
    """Like `begin`, with the state of one agent. Everything else in the process must have ended."""
    return begin(VARIABLE, msgspec.json.encode(handover.handed), _descriptors(handover.handed))


def begin(variable: str, written: bytes, descriptors: Iterable[int]) -> str:
    """Restarts the program with its own command line; it finds `written` through this variable.

    Returns only if the program cannot be executed: why, with the next step.
    """
    for each in descriptors:
        os.set_inheritable(each, True)
    with _unnamed_file() as file:
        file.write(written)
        file.seek(0)
        os.set_inheritable(file.fileno(), True)
        sys.stdout.flush()
        sys.stderr.flush()
        environment = {**os.environ, variable: f"{os.getpid()}:{file.fileno()}"}
        try:
            os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], environment)
        except OSError as error:
            return not_started(error)


def _unnamed_file() -> IO[bytes]:
    """An unnamed file, in memory if the system supports that, since the disk may be full."""
    if sys.platform == "linux":
        return os.fdopen(os.memfd_create("handed-over"), "w+b")
    return tempfile.TemporaryFile()


def ignore_requests() -> None:
    """Ignores the signal until the next program, which inherits this, handles it: by default it ends the process."""
    signal.signal(ASKS, signal.SIG_IGN)


def _descriptors(handed: list[Handed]) -> list[int]:
    return [fd for each in handed for fd in (each.listening, *each.connections)]
