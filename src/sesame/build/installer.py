"""Installs requirements for a function's interpreter into a cache directory, atomically and only once.

Used by `build.builder`. Runs a pip that fits the interpreter's age under that interpreter. If the interpreter is
missing, uv installs wheels for its version. Both run as the current user: a package from source runs its own code.
"""

import hashlib
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import msgspec

from sesame.build import pruning
from sesame.build.requirements import Requirements
from sesame.model.errors import ConfigurationError
from sesame.sandbox.runtimes.interpreters import MINOR_VERSIONS, Interpreter, how_to_get
from sesame.sandbox.runtimes.obtain.uv import OLDEST_MINOR, find_uv
from sesame.sandbox.runtimes.pip_bootstrap import BootstrappedPip, PipFailed
from sesame.sandbox.runtimes.site_packages import lines_of, lock_files
from sesame.sandbox.runtimes.staging import staged

# Increase when the same requirements would be installed differently.
FORMAT = 1
LINES_SHOWN = 12
# uv's name for the oldest C library to select wheels for, that of the cloud's oldest images.
PLATFORMS = {"x86_64": "x86_64-manylinux_2_17", "aarch64": "aarch64-manylinux_2_17"}
_FROM_SOURCE = re.compile(r"(?:Building wheel for|setup\.py install for) ([A-Za-z0-9._-]+)[^:]*: started")

Progress = Callable[[str], None]


class Installed(msgspec.Struct, frozen=True):
    """The directory of the packages, and the packages that were built from source."""

    folder: Path
    from_source: tuple[str, ...] = ()


class Installer:
    """Installs into `cache`. `interpreters` maps runtimes to those found. `fresh` ignores earlier installations."""

    def __init__(self, cache: Path, interpreters: dict[str, Interpreter], progress: Progress, *, fresh: bool) -> None:
        self._cache = cache
        self._interpreters = interpreters
        self._progress = progress
        self._fresh = fresh

    def install(self, requirements: Requirements, runtime: str, own: Interpreter | None = None) -> Installed:
        """Installs for the runtime's interpreter, or for the function's `own`.

        Raises `ConfigurationError` with the end of the installer's output and the next step.
        """
        interpreter = own or self._interpreters.get(runtime)
        if interpreter is not None and interpreter.substitute_for is not None:
            interpreter = None
        if interpreter is None and MINOR_VERSIONS[runtime] < OLDEST_MINOR:
            raise ConfigurationError(
                f"{requirements.path} needs the interpreter of {runtime}, which was not found; get it: "
                f"{how_to_get(runtime)}"
            )
        by = f"{interpreter.path} {interpreter.version}" if interpreter else f"uv {runtime} {os.uname().machine}"
        key = hashlib.sha256(f"{FORMAT}\n{by}\n{requirements.digest}".encode()).hexdigest()[:32]
        final = self._cache / key
        if final.is_dir() and requirements.cacheable and not self._fresh:
            pruning.used(final)
            return Installed(final / "packages", _read_names(final))
        with staged(final) as staging:
            if interpreter is not None:
                names = self._with_pip(requirements, interpreter, staging / "packages")
            else:
                names = self._with_uv(requirements, runtime, staging / "packages")
            (staging / "from-source").write_text("\n".join(names))
        pruning.prune(self._cache, time.time())
        return Installed(final / "packages", names)

    def _with_pip(self, requirements: Requirements, interpreter: Interpreter, target: Path) -> tuple[str, ...]:
        self._progress(f"installing {requirements.path.name} for CPython {interpreter.version} …")
        target.mkdir()
        try:
            pip = BootstrappedPip(interpreter, self._pip(interpreter))
            output = pip.run(
                ["install", "--no-compile", "--no-warn-script-location", "--target", str(target.absolute()),
                 *requirements.arguments()],
                self._progress,
                requirements.path.absolute().parent,
            )  # fmt: skip
        except PipFailed as failed:
            raise ConfigurationError(_failure(requirements, f"pip under {interpreter.path}", failed.lines)) from failed
        return tuple(dict.fromkeys(_sources(output)))

    def _pip(self, interpreter: Interpreter) -> Path:
        """The directory of the pip that fits the interpreter; downloaded once."""
        pins = lines_of(lock_files(interpreter)[1])
        key = hashlib.sha256(f"{interpreter.minor} {pins}".encode()).hexdigest()[:16]
        final = self._cache / f"pip-{key}"
        if final.is_dir():
            pruning.used(final)
        else:
            with staged(final) as staging:
                BootstrappedPip(interpreter, staging).fetch(pins)
        return final

    def _with_uv(self, requirements: Requirements, runtime: str, target: Path) -> tuple[str, ...]:
        version = ".".join(map(str, MINOR_VERSIONS[runtime]))
        self._progress(
            f"installing wheels of {requirements.path.name} for CPython {version}, whose interpreter is not installed …"
        )
        command = [
            find_uv(), "pip", "install", "--python", sys.executable, "--python-version", version,
            "--target", str(target.absolute()), "--only-binary", ":all:", *requirements.arguments(),
        ]  # fmt: skip
        if platform := PLATFORMS.get(os.uname().machine):
            command += ["--python-platform", platform]
        environ = dict(os.environ)
        if index := environ.get("PIP_INDEX_URL"):
            environ.setdefault("UV_DEFAULT_INDEX", index)
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            errors="replace", env=environ, check=False, cwd=requirements.path.absolute().parent,
        )  # fmt: skip
        if done.returncode != 0:
            raise ConfigurationError(
                _failure(requirements, f"uv, for CPython {version}, which is not here", done.stdout.splitlines())
                + f"\n    Only wheels can be taken without the interpreter; get it: {how_to_get(runtime)}"
            )
        target.mkdir(exist_ok=True)
        return ()


def default_cache() -> Path:
    """The user's cache; its contents may be deleted at any time."""
    caches = Path(os.environ.get("XDG_CACHE_HOME") or Path(os.path.expanduser("~")) / ".cache")
    return caches / "sesame" / "build"


def _sources(lines: Iterable[str]) -> Iterator[str]:
    for line in lines:
        if found := _FROM_SOURCE.search(line):
            yield found[1]


def _read_names(folder: Path) -> tuple[str, ...]:
    return tuple((folder / "from-source").read_text().split())


def _failure(requirements: Requirements, by: str, lines: Iterable[str]) -> str:
    shown = "\n".join(f"    {line}" for line in [line for line in lines if line.strip()][-LINES_SHOWN:])
    return f"{requirements.path} could not be installed by {by}:\n{shown}"
