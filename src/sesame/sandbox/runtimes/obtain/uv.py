"""Obtains CPython 3.8 and later: uv downloads its builds, verifies the digests that it knows, and unpacks them.

Used by `obtain.obtain`. uv comes from the extra `runtimes`, or from PATH.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec

from sesame.model.errors import ConfigurationError
from sesame.sandbox.runtimes.interpreters import MINOR_VERSIONS, newest_first
from sesame.sandbox.runtimes.obtain import installed

OLDEST_MINOR = (3, 8)
FOLDER = "uv"
_FAILURE = ("error:", "cause:", "Caused by:")

Progress = Callable[[str], None]


class Source(msgspec.Struct, frozen=True):
    """A mirror's URL and a proxy's; None leaves the choice to uv's own settings and the environment."""

    mirror: str | None = None
    proxy: str | None = None


class UvInterpreters:
    """The interpreters that uv installs below `own`, the directory of all obtained interpreters."""

    def __init__(self, own: Path, source: Source) -> None:
        self._folder = own / FOLDER
        self._source = source

    def get(self, runtime: str, progress: Progress) -> Path:
        """Installs the runtime's interpreter if it is missing. Returns its directory. Raises `ConfigurationError`."""
        minor = ".".join(map(str, MINOR_VERSIONS[runtime]))
        if found := self._complete(minor):
            return found
        self._folder.mkdir(parents=True, exist_ok=True)
        mirror = ["--mirror", self._source.mirror] if self._source.mirror else []
        self._run(
            [find_uv(), "python", "install", minor, "--install-dir", str(self._folder), "--no-bin", *mirror], progress
        )
        folder = next(iter(newest_first(self._folder, f"cpython-{minor}.*")), None)
        if folder is None:
            raise ConfigurationError(f"uv succeeded but installed no CPython {minor} in {self._folder}")
        version = folder.name.split("-")[1]
        installed.finish(folder, installed.Manifest(runtime, version, installed.machine(), "uv", str(folder)))
        return folder

    def _complete(self, minor: str) -> Path | None:
        return next(filter(installed.is_complete, newest_first(self._folder, f"cpython-{minor}.*")), None)

    def _run(self, command: list[str], progress: Progress) -> None:
        with subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            errors="replace", env=_environment(self._source.proxy),
        ) as process:  # fmt: skip
            assert process.stdout is not None
            lines = []
            for line in map(str.strip, process.stdout):
                lines.append(line)
                if not line.startswith(_FAILURE):
                    progress(line)
        if process.returncode != 0:
            reasons = [line for line in lines if line] or [f"uv ended with {process.returncode}"]
            # uv lists causes from the outermost to the innermost; those in between repeat the request.
            raise ConfigurationError(": ".join(dict.fromkeys([*reasons[:1], *reasons[2:3], *reasons[-1:]])))


def find_uv() -> str:
    """uv's path: beside this interpreter, or on PATH. Raises `ConfigurationError`."""
    beside = Path(sys.executable).with_name("uv")
    found = str(beside) if beside.exists() else shutil.which("uv")
    if found is None:
        raise ConfigurationError(
            "uv, which installs CPython 3.8 and later, was not found: pip install 'sesame-fc[runtimes]'"
        )
    return found


def _environment(proxy: str | None) -> Mapping[str, str]:
    kept = {name: value for name, value in os.environ.items() if name not in ("UV_PYTHON", "UV_PYTHON_INSTALL_DIR")}
    # Each attempt to reach an unreachable host takes seconds, and the user can repeat the command.
    kept = {"UV_HTTP_RETRIES": "1", "UV_NO_PROGRESS": "1", **kept}
    return kept | (dict.fromkeys(("HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY"), proxy) if proxy else {})
