"""Finds the CPython for each runtime, running each candidate once to learn its version.

Called by `app` and the command line before any sandbox is created, and by `sandbox.runtimes.site_packages`. An
unreadable folder, or an interpreter that hangs or answers nonsense, counts as absent and never fails a command.
"""

import contextlib
import os
import re
import selectors
import signal
import subprocess
import time
from collections.abc import Collection, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO, Annotated

import msgspec

from sesame import timed_programs
from sesame.model.errors import ConfigurationError
from sesame.model.prepared import prepared
from sesame.sandbox.runtimes import places

PROBE_TIMEOUT_S = 10.0
SEARCH_TIMEOUT_S = 30.0
PROBE_ANSWER_BYTES_MAX = 64 * 1024

# reference/runtime.md §1: the id `python3` means CPython 3.6.
MINOR_VERSIONS: dict[str, tuple[int, int]] = {
    "python2.7": (2, 7),
    "python3": (3, 6),
    "python3.9": (3, 9),
    "python3.10": (3, 10),
    "python3.12": (3, 12),
}
SUBSTITUTED_RUNTIME = "python3"
# Its functions start whichever Python they like.
CUSTOM_RUNTIME = "custom"
NEWEST_SUBSTITUTE_MINOR = 13

# Imports only modules that every interpreter has loaded anyway, because it runs for every interpreter at every start.
# Fields are separated and enclosed by NUL, which no path contains, because `sitecustomize` may print more.
_PROBE = """
import os, sys
encode = getattr(os, "fsencode", bytes)
fields = [
    "%d.%d.%d" % sys.version_info[:3],
    sys.implementation.name if hasattr(sys, "implementation") else sys.subversion[0],
    os.path.realpath(sys.executable),
    sys.prefix,
    getattr(sys, "base_prefix", getattr(sys, "real_prefix", sys.prefix)),
]
getattr(sys.stdout, "buffer", sys.stdout).write(b"\\0" + b"\\0".join(map(encode, fields)) + b"\\0")
"""


class Interpreter(msgspec.Struct, frozen=True):
    """A CPython that answered the probe.

    `substitute_for` is the minor version that the runtime asks for ("3.6") if this newer one is used instead.
    """

    runtime: str
    path: Path
    version: str
    prefix: Path
    substitute_for: str | None = None

    @property
    def minor(self) -> tuple[int, int]:
        major, minor, _micro = self.version.split(".")
        return int(major), int(minor)

    @property
    def notice(self) -> str:
        """A line for every invocation's log; "" if the interpreter has the version that the runtime names."""
        if self.substitute_for is None:
            return ""
        return (
            f"Runtime {self.runtime} runs on CPython {self.version}: CPython {self.substitute_for} was not found. "
            "`sesame runtimes` says how to get it."
        )


@prepared
class Answer(msgspec.Struct, frozen=True, array_like=True):
    """The probe's answer; the fields are in the order in which it prints them."""

    version: Annotated[str, msgspec.Meta(pattern=r"^[0-9]{1,4}\.[0-9]{1,4}\.[0-9]{1,4}$")]
    implementation: str
    executable: str
    prefix: str
    base_prefix: str

    def is_cpython(self, wanted: tuple[int, int]) -> bool:
        major, minor, _micro = self.version.split(".")
        return self.implementation.lower() == "cpython" and (int(major), int(minor)) == wanted


def discover(
    overrides: Mapping[str, Path] | None = None,
    environ: Mapping[str, str] | None = None,
    wanted: Collection[str] = tuple(MINOR_VERSIONS),
    own: Path | None = None,
) -> dict[str, Interpreter]:
    """The interpreter of each wanted runtime that has one, in the order of `MINOR_VERSIONS`.

    Takes the first match of `overrides`, `own` (the directory of interpreters that Sesame obtained; by default this
    installation's), names on PATH, pyenv, uv, and the usual prefixes.
    Raises `ConfigurationError` if an override names an unknown runtime or an interpreter of the wrong version.
    """
    own = own or places.own_interpreters(places.default_root())
    search = _Search(os.environ if environ is None else environ, own)
    overrides = overrides or {}
    for runtime in overrides:
        if runtime not in MINOR_VERSIONS:
            raise ConfigurationError(
                f"interpreters: there is no runtime '{runtime}'; expected one of {', '.join(MINOR_VERSIONS)}"
            )
    with ThreadPoolExecutor(max_workers=len(MINOR_VERSIONS)) as threads:
        names = [runtime for runtime in MINOR_VERSIONS if runtime in wanted]
        found = threads.map(lambda runtime: search.runtime(runtime, overrides.get(runtime)), names)
        return {interpreter.runtime: interpreter for interpreter in found if interpreter is not None}


def find(minor: tuple[int, int], environ: Mapping[str, str], own: Path) -> Interpreter | None:
    """The CPython of this version, looked for as `discover` does, also where no runtime has that version."""
    return _Search(environ, own).first(CUSTOM_RUNTIME, minor)


def how_to_get(runtime: str) -> str:
    """The commands that install an interpreter for `runtime`."""
    major, minor = MINOR_VERSIONS[runtime]
    return f"`sesame runtimes get {runtime}` or `pyenv install {major}.{minor}`"


class _Search:
    """One discovery. Caches the answer for each path, so that no interpreter is run twice."""

    def __init__(self, environ: Mapping[str, str], own: Path) -> None:
        self._environ = environ
        self._own = own
        self._deadline = time.monotonic() + SEARCH_TIMEOUT_S
        self._answers: dict[Path, Answer | None] = {}

    def runtime(self, runtime: str, override: Path | None) -> Interpreter | None:
        wanted = MINOR_VERSIONS[runtime]
        if override is not None:
            return self._overridden(runtime, override)
        if interpreter := self.first(runtime, wanted):
            return interpreter
        if runtime != SUBSTITUTED_RUNTIME:
            return None
        for minor in range(wanted[1] + 1, NEWEST_SUBSTITUTE_MINOR + 1):
            if interpreter := self.first(runtime, (wanted[0], minor)):
                return msgspec.structs.replace(interpreter, substitute_for=f"{wanted[0]}.{wanted[1]}")
        return None

    def _overridden(self, runtime: str, path: Path) -> Interpreter:
        wanted = MINOR_VERSIONS[runtime]
        try:
            path.stat()
        except FileNotFoundError as error:
            raise ConfigurationError(f"interpreters: {runtime} is set to {path}, which does not exist") from error
        except (OSError, ValueError) as error:
            why = (error.strerror if isinstance(error, OSError) else None) or error
            raise ConfigurationError(
                f"interpreters: {runtime} is set to {path}, which cannot be used: {why}"
            ) from error
        answer = self._ask(path)
        if answer is None:
            raise ConfigurationError(f"interpreters: {runtime} is set to {path}, which is not a working Python")
        if not answer.is_cpython(wanted):
            raise ConfigurationError(
                f"interpreters: {runtime} is set to {path}, which is {answer.implementation} {answer.version}; "
                f"expected CPython {wanted[0]}.{wanted[1]}"
            )
        return _interpreter(runtime, answer)

    def first(self, runtime: str, wanted: tuple[int, int]) -> Interpreter | None:
        for path in self._candidates(wanted):
            answer = self._ask(path)
            if answer and answer.is_cpython(wanted):
                return _interpreter(runtime, answer)
        return None

    def _candidates(self, wanted: tuple[int, int]) -> Iterator[Path]:
        name = f"python{wanted[0]}.{wanted[1]}"
        # POLICY: interpreters obtained by Sesame precede PATH, so that the caller's shell cannot change what functions
        # run on.
        yield from _existing(
            folder / "bin" / name for folder in newest_first(self._own, f"*/cpython-{wanted[0]}.{wanted[1]}.*")
        )
        home = Path(self._environ.get("HOME") or os.path.expanduser("~"))
        pyenv = Path(self._environ.get("PYENV_ROOT") or home / ".pyenv")
        for folder in map(Path, filter(None, self._environ.get("PATH", os.defpath).split(os.pathsep))):
            # A pyenv shim is slow and works only for selected versions; the installed versions are searched next.
            if folder != pyenv / "shims":
                yield from _existing([folder / name])
        yield from _existing(
            folder / "bin" / name for folder in newest_first(pyenv / "versions", f"{wanted[0]}.{wanted[1]}*")
        )
        data = Path(self._environ.get("XDG_DATA_HOME") or home / ".local" / "share")
        uv = Path(self._environ.get("UV_PYTHON_INSTALL_DIR") or data / "uv" / "python")
        yield from _existing(folder / "bin" / name for folder in newest_first(uv, f"cpython-{wanted[0]}.{wanted[1]}.*"))
        yield from _existing(folder / name for folder in usual_folders(wanted))

    def _ask(self, path: Path) -> Answer | None:
        if path not in self._answers:
            answer = probe(path, self._environ, self._deadline)
            if answer and answer.prefix != answer.base_prefix:
                # A virtual environment's python would bring its packages along: use its base interpreter.
                answer = probe(Path(answer.executable), self._environ, self._deadline)
                if answer and answer.prefix != answer.base_prefix:
                    answer = None
            self._answers[path] = answer
        return self._answers[path]


def _interpreter(runtime: str, answer: Answer) -> Interpreter:
    return Interpreter(runtime, Path(answer.executable), answer.version, Path(answer.prefix))


def probe(path: Path, environ: Mapping[str, str], deadline: float | None = None) -> Answer | None:
    """Runs the interpreter once; None if it does not run, like a pyenv shim of a version that is not selected.

    Gives up after `PROBE_TIMEOUT_S`, or at `deadline` (monotonic seconds) if that is earlier.
    """
    clean = {name: value for name, value in environ.items() if not name.startswith("PYTHON")}
    try:
        process = subprocess.Popen(
            [str(path), "-E", "-s", "-c", _PROBE],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=clean,
            start_new_session=True,
        )  # fmt: skip
    except (OSError, ValueError):
        return None
    gives_up = time.monotonic() + PROBE_TIMEOUT_S
    deadline = gives_up if deadline is None else min(deadline, gives_up)
    with process:
        try:
            output = _read_all(process.stdout, deadline)
            if output is None or process.wait(max(deadline - time.monotonic(), 0.1)) != 0:
                return None
            return _answer(output)
        except (subprocess.TimeoutExpired, msgspec.ValidationError):
            return None
        finally:
            # Kill the whole session, because the candidate may be a script that started other processes.
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)


def _answer(said: bytes) -> Answer:
    """Raises `msgspec.ValidationError` if the output is not an answer to the probe."""
    fields = [os.fsdecode(field) for field in said.split(b"\0")[1:-1]]
    return msgspec.convert(fields[-len(Answer.__struct_fields__) :], Answer)


def run_proof(path: Path, code: str) -> str:
    """The error of the interpreter when it runs `code`; "" if it succeeds."""
    try:
        done = timed_programs.run([path, "-E", "-s", "-c", code], SEARCH_TIMEOUT_S, merged=True)
    except subprocess.TimeoutExpired:
        return f"it did not end within {SEARCH_TIMEOUT_S:g} s"
    lines = done.stdout.strip().splitlines() or [f"it ended with status {done.returncode}"]
    return lines[-1] if done.returncode else ""


def _read_all(pipe: IO[bytes] | None, deadline: float) -> bytes | None:
    """Everything that the process writes until it closes its output; None if that is too much or takes too long."""
    assert pipe is not None
    output = b""
    with selectors.DefaultSelector() as selector:
        selector.register(pipe, selectors.EVENT_READ)
        while len(output) <= PROBE_ANSWER_BYTES_MAX and selector.select(max(deadline - time.monotonic(), 0)):
            chunk = os.read(pipe.fileno(), PROBE_ANSWER_BYTES_MAX)
            if not chunk:
                return output
            output += chunk
    return None


def _existing(paths: Iterable[Path]) -> Iterator[Path]:
    return (path for path in paths if _is_executable_file(path))


def _is_executable_file(path: Path) -> bool:
    # pathlib raises if a folder may not be searched or a name is too long.
    try:
        return path.is_file() and os.access(path, os.X_OK)
    except (OSError, ValueError):
        return False


def newest_first(folder: Path, pattern: str) -> list[Path]:
    """The matching paths below `folder`, highest version first; none if it cannot be read."""
    try:
        found = list(folder.glob(pattern)) if folder.is_dir() else []
    except OSError:
        return []
    return sorted(found, key=lambda path: [int(part) for part in re.findall(r"\d{1,9}", path.name)])[::-1]


def usual_folders(wanted: tuple[int, int]) -> Iterator[Path]:
    yield from (Path("/usr/local/bin"), Path("/usr/bin"), Path("/opt/homebrew/bin"))
    yield Path(f"/opt/homebrew/opt/python@{wanted[0]}.{wanted[1]}/bin")
    yield Path(f"/Library/Frameworks/Python.framework/Versions/{wanted[0]}.{wanted[1]}/bin")
    yield Path(f"/opt/python{wanted[0]}.{wanted[1]}/bin")
    yield Path(f"/opt/python/{wanted[0]}.{wanted[1]}/bin")
