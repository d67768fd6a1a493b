"""Runs pip for interpreters whose own pip is missing or too old, without installing anything into them.

Called by `site_packages`, `build.installer` and the script that resolves the constraints. Each runtime's pip,
setuptools and wheel are pinned in constraints/<runtime>.build.txt. Writes only to the directories it is given.
`python -m pip` would import a `pip.py`, or any module that shadows the standard library's, from the current directory;
so pip is run by its path, or from the root directory.
"""

import ensurepip
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from sesame.model.errors import ConfigurationError
from sesame.sandbox.runtimes.interpreters import Interpreter
from sesame.timed_programs import kill_group

HEARTBEAT_S = 5.0

Progress = Callable[[str], None]


class PipFailed(ConfigurationError):
    """pip failed; `lines` is the last of its output."""

    def __init__(self, message: str, lines: Sequence[str]) -> None:
        super().__init__(message)
        self.lines = tuple(lines)


class BootstrappedPip:
    """A pip of a pinned version in `folder`, run by `interpreter` from there."""

    def __init__(self, interpreter: Interpreter, folder: Path) -> None:
        self._interpreter = interpreter
        self._folder = folder

    def fetch(self, pins: Sequence[str]) -> None:
        """Installs the pinned pip, setuptools and wheel into the folder, with whichever pip this machine has.

        That pip would compile them for its own Python. The interpreter compiles what it imports of them.
        """
        version = ".".join(map(str, self._interpreter.minor))
        foreign = ["--python-version", version, "--only-binary", ":all:"]
        attempts = [
            [sys.executable, "-m", "pip", "install", *foreign],
            *([sys.executable, str(wheel / "pip"), "install", *foreign] for wheel in _bundled_wheels()),
            [str(self._interpreter.path), "-s", "-m", "pip", "install"],
        ]
        errors: list[str] = []
        for command in attempts:
            done = subprocess.run(
                [*command, "--quiet", "--no-deps", "--no-compile", "--target", str(self._folder.absolute()), *pins],
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=_environment(),
                text=True, errors="replace", check=False, cwd=os.sep,
            )  # fmt: skip
            if done.returncode == 0:
                return
            errors.extend(done.stdout.splitlines()[-3:])
        raise PipFailed(f"{', '.join(pins)} could not be fetched", errors)

    def run(self, arguments: Sequence[str], progress: Progress, folder: Path | None = None) -> list[str]:
        """Runs pip and returns the lines of its output. Reports to `progress` every few seconds.

        Relative paths in requirements start at `folder`. Raises `PipFailed` with the output.
        """
        pip = self._folder.absolute()
        process = subprocess.Popen(
            [str(self._interpreter.path), "-s", str(pip / "pip"), *arguments],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
            env=_environment(pythonpath=pip), cwd=folder, process_group=0,
        )  # fmt: skip
        lines: list[str] = []
        ended = threading.Event()
        heart = threading.Thread(target=_beat, args=(lines, progress, ended), daemon=True)
        heart.start()
        try:
            assert process.stdout is not None
            for line in process.stdout:
                lines.append(line.rstrip())
            code = process.wait()
        finally:
            ended.set()
            heart.join()
            if process.returncode is None:
                # With the compilers that it has started.
                kill_group(process.pid)
                process.wait()
        if code != 0:
            raise PipFailed(f"pip ended with {code}", lines)
        return lines


def _beat(lines: list[str], progress: Progress, ended: threading.Event) -> None:
    began_at = time.monotonic()
    while not ended.wait(HEARTBEAT_S):
        latest = next((line.strip() for line in reversed(lines) if _tells_something(line)), "starting")
        progress(f"{latest[:100]} ({time.monotonic() - began_at:.0f} s)")


def _tells_something(line: str) -> bool:
    return line.lstrip().startswith(("Collecting", "Downloading", "Building", "Installing", "Processing"))


def _bundled_wheels() -> list[Path]:
    """The pip that CPython bundles for `ensurepip`; Debian moves it to the package python3-pip-whl."""
    folders = [Path(ensurepip.__file__).parent / "_bundled", Path("/usr/share/python-wheels")]
    return [wheel for folder in folders for wheel in sorted(folder.glob("pip-*.whl"))]


def _environment(pythonpath: Path | None = None) -> Mapping[str, str]:
    """Keeps the operator's PIP_* (index, proxy, certificates), except those that change where packages go."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("PYTHON") and name not in ("PIP_TARGET", "PIP_PREFIX", "PIP_ROOT", "VIRTUAL_ENV")
    }
    kept |= {
        "PIP_USER": "0",
        "PIP_REQUIRE_VIRTUALENV": "0",
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "PIP_ROOT_USER_ACTION": "ignore",
        "PYTHONNOUSERSITE": "1",
        "PYTHONIOENCODING": "utf-8",
        "PYTHONUNBUFFERED": "1",
    }
    if pythonpath is not None:
        kept["PYTHONPATH"] = str(pythonpath)
    return kept


def temporary_folder() -> "tempfile.TemporaryDirectory[str]":
    """A directory for a bootstrapped pip, removed when the context ends."""
    return tempfile.TemporaryDirectory(prefix="sesame-pip-")
