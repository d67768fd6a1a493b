"""Finds the CPython that runs each runtime, and proves it by running it once.

Called by `app` and the command line before any sandbox is made; `sandbox.site_packages` installs with what it finds.
Never assumes a path, never installs an interpreter, never takes one from inside a virtual environment.
"""

import os
import re
import subprocess
from collections.abc import Collection, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec

from sesame.model.errors import ConfigurationError

PROBE_TIMEOUT_S = 20

# reference/runtime.md §1: the id `python3` means CPython 3.6.
MINOR_VERSIONS: dict[str, tuple[int, int]] = {
    "python2.7": (2, 7),
    "python3": (3, 6),
    "python3.9": (3, 9),
    "python3.10": (3, 10),
    "python3.12": (3, 12),
}
SUBSTITUTED_RUNTIME = "python3"
NEWEST_SUBSTITUTE_MINOR = 13

# Few imports: it is run for every interpreter at every start.
_PROBE = """
import json, os, sys
sys.stdout.write(json.dumps({
    "version": "%d.%d.%d" % sys.version_info[:3],
    "implementation": sys.implementation.name if hasattr(sys, "implementation") else sys.subversion[0],
    "executable": os.path.realpath(sys.executable),
    "prefix": sys.prefix,
    "base_prefix": getattr(sys, "base_prefix", getattr(sys, "real_prefix", sys.prefix)),
}))
"""


class Interpreter(msgspec.Struct, frozen=True):
    """One CPython that was run and answered.

    `substitute_for` is the minor version that the runtime asks for ("3.6") when this is a newer one in its place.
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
        """The line for every invocation's log; empty when the interpreter is the one that the runtime names."""
        if self.substitute_for is None:
            return ""
        return (
            f"Runtime {self.runtime} runs on CPython {self.version}: CPython {self.substitute_for} was not found. "
            "`sesame runtimes` says how to get it."
        )


class _Answer(msgspec.Struct, frozen=True):
    version: str
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
) -> dict[str, Interpreter]:
    """The interpreter of each wanted runtime that has one, in the order of `MINOR_VERSIONS`.

    Looks in this order, first that proves right wins: `overrides`, names on PATH, pyenv, uv, usual prefixes.
    Raises `ConfigurationError` when an override names an unknown runtime or an interpreter that is not what it says.
    """
    search = _Search(os.environ if environ is None else environ)
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


def how_to_get(runtime: str) -> str:
    """What an operator can type to get the interpreter of `runtime`."""
    major, minor = MINOR_VERSIONS[runtime]
    pyenv = f"`pyenv install {major}.{minor}`"
    if (major, minor) >= (3, 8):
        return f"`uv python install {major}.{minor}` or {pyenv}"
    return pyenv


class _Search:
    """One discovery: remembers what each path answered, so that none is run twice."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self._answers: dict[Path, _Answer | None] = {}

    def runtime(self, runtime: str, override: Path | None) -> Interpreter | None:
        wanted = MINOR_VERSIONS[runtime]
        if override is not None:
            return self._overridden(runtime, override)
        if interpreter := self._first(runtime, wanted):
            return interpreter
        if runtime != SUBSTITUTED_RUNTIME:
            return None
        for minor in range(wanted[1] + 1, NEWEST_SUBSTITUTE_MINOR + 1):
            if interpreter := self._first(runtime, (wanted[0], minor)):
                return msgspec.structs.replace(interpreter, substitute_for=f"{wanted[0]}.{wanted[1]}")
        return None

    def _overridden(self, runtime: str, path: Path) -> Interpreter:
        wanted = MINOR_VERSIONS[runtime]
        if not path.exists():
            raise ConfigurationError(f"interpreters: {runtime} is set to {path}, which does not exist")
        answer = self._ask(path)
        if answer is None:
            raise ConfigurationError(f"interpreters: {runtime} is set to {path}, which does not run as a Python")
        if not answer.is_cpython(wanted):
            raise ConfigurationError(
                f"interpreters: {runtime} is set to {path}, which is {answer.implementation} {answer.version}; "
                f"expected CPython {wanted[0]}.{wanted[1]}"
            )
        return _interpreter(runtime, answer)

    def _first(self, runtime: str, wanted: tuple[int, int]) -> Interpreter | None:
        for path in self._candidates(wanted):
            answer = self._ask(path)
            if answer and answer.is_cpython(wanted):
                return _interpreter(runtime, answer)
        return None

    def _candidates(self, wanted: tuple[int, int]) -> Iterator[Path]:
        name = f"python{wanted[0]}.{wanted[1]}"
        home = Path(self._environ.get("HOME") or Path.home())
        pyenv = Path(self._environ.get("PYENV_ROOT") or home / ".pyenv")
        for folder in map(Path, filter(None, self._environ.get("PATH", os.defpath).split(os.pathsep))):
            # A shim is slow, and works only for versions that are selected just now; the versions themselves come next.
            if folder != pyenv / "shims":
                yield from _existing([folder / name])
        yield from _existing(
            folder / "bin" / name for folder in _newest_first(pyenv / "versions", f"{wanted[0]}.{wanted[1]}*")
        )
        data = Path(self._environ.get("XDG_DATA_HOME") or home / ".local" / "share")
        uv = Path(self._environ.get("UV_PYTHON_INSTALL_DIR") or data / "uv" / "python")
        yield from _existing(
            folder / "bin" / name for folder in _newest_first(uv, f"cpython-{wanted[0]}.{wanted[1]}.*")
        )
        yield from _existing(folder / name for folder in _usual_folders(wanted))

    def _ask(self, path: Path) -> _Answer | None:
        if path not in self._answers:
            answer = _probe(path, self._environ)
            if answer and answer.prefix != answer.base_prefix:
                # A virtual environment's python would bring that environment's packages: take the one below it.
                answer = _probe(Path(answer.executable), self._environ)
                if answer and answer.prefix != answer.base_prefix:
                    answer = None
            self._answers[path] = answer
        return self._answers[path]


def _interpreter(runtime: str, answer: _Answer) -> Interpreter:
    return Interpreter(runtime, Path(answer.executable), answer.version, Path(answer.prefix))


def _probe(path: Path, environ: Mapping[str, str]) -> _Answer | None:
    """Runs the interpreter once; None when it does not run, as a pyenv shim of a version that is not selected."""
    clean = {name: value for name, value in environ.items() if not name.startswith("PYTHON")}
    try:
        done = subprocess.run(
            [str(path), "-E", "-s", "-c", _PROBE],
            stdin=subprocess.DEVNULL, capture_output=True, env=clean, timeout=PROBE_TIMEOUT_S, check=False,
        )  # fmt: skip
        if done.returncode != 0:
            return None
        return msgspec.json.decode(done.stdout, type=_Answer)
    except (OSError, subprocess.TimeoutExpired, msgspec.DecodeError):
        return None


def _existing(paths: Iterable[Path]) -> Iterator[Path]:
    return (path for path in paths if path.is_file() and os.access(path, os.X_OK))


def _newest_first(folder: Path, pattern: str) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted(folder.glob(pattern), key=lambda path: [int(part) for part in re.findall(r"\d+", path.name)])[::-1]


def _usual_folders(wanted: tuple[int, int]) -> Iterator[Path]:
    yield from (Path("/usr/local/bin"), Path("/usr/bin"), Path("/opt/homebrew/bin"))
    yield Path(f"/opt/homebrew/opt/python@{wanted[0]}.{wanted[1]}/bin")
    yield Path(f"/Library/Frameworks/Python.framework/Versions/{wanted[0]}.{wanted[1]}/bin")
    yield Path(f"/opt/python{wanted[0]}.{wanted[1]}/bin")
    yield Path(f"/opt/python/{wanted[0]}.{wanted[1]}/bin")
