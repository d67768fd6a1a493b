"""Installs each runtime's debugger ahead of use: the last version of debugpy that supports its interpreter.

`sesame runtimes install` and `sesame dev --debug` install it from constraints/<runtime>.debug.txt, which has the digest
of every file. It is kept as a zip, which becomes a layer only of instances that are debugged.
"""

import hashlib
import os
import zipfile
from collections.abc import Mapping
from pathlib import Path

from sesame.model.errors import ConfigurationError
from sesame.sandbox.runtimes.interpreters import Interpreter, how_to_get
from sesame.sandbox.runtimes.pip_bootstrap import BootstrappedPip, PipFailed, temporary_folder
from sesame.sandbox.runtimes.site_packages import Progress, advice, constraints, lines_of, locked

ARCHIVE = "debugger.zip"
# Where the shim looks for modules in a layer.
FOLDER = "python"
_EPOCH = (1980, 1, 1, 0, 0, 0)


class Debuggers:
    """`<root>/debuggers/<runtime>/<hash of constraints and interpreter>/debugger.zip`."""

    def __init__(self, root: Path, interpreters: Mapping[str, Interpreter]) -> None:
        self._root = root
        self._interpreters = interpreters

    def installed(self, runtime: str) -> bool:
        return runtime in self._interpreters and self._path(runtime).is_file()

    def archive(self, runtime: str) -> bytes:
        """The zip. Raises `ConfigurationError` if it is not installed."""
        if not self.installed(runtime):
            raise ConfigurationError(
                f"the debugger of {runtime} is not installed; install it: sesame runtimes install {runtime}"
            )
        return self._path(runtime).read_bytes()

    def install(self, runtime: str, progress: Progress) -> None:
        """Does nothing if it is installed. Raises `ConfigurationError` with the end of pip's output."""
        if self.installed(runtime):
            return
        if runtime not in self._interpreters:
            raise ConfigurationError(f"{runtime} has no interpreter here; get it: {how_to_get(runtime)}")
        target = self._path(runtime)
        target.parent.mkdir(parents=True, exist_ok=True)
        with locked(self._root / f".{runtime}.debugger.lock", progress):
            if not self.installed(runtime):
                self._install(self._interpreters[runtime], target, progress)

    def _install(self, interpreter: Interpreter, target: Path, progress: Progress) -> None:
        lock, build = lock_files(interpreter)
        progress(f"{interpreter.runtime}: installing {pin_of(lock)} for CPython {interpreter.version} …")
        with temporary_folder() as boot, temporary_folder() as folder:
            try:
                pip = BootstrappedPip(interpreter, Path(boot))
                pip.fetch(lines_of(build))
                pip.run(
                    ["install", "--no-deps", "--require-hashes", "--only-binary", ":all:", "--no-compile",
                     "--no-warn-script-location", "--target", folder, "-r", str(lock)],
                    progress,
                )  # fmt: skip
            except PipFailed as failed:
                raise ConfigurationError(advice(interpreter, failed)) from failed
            part = target.with_name(f".{os.getpid()}.part")
            _pack(Path(folder), part)
            part.rename(target)
        progress(f"{interpreter.runtime}: {pin_of(lock)} installed")

    def _path(self, runtime: str) -> Path:
        interpreter = self._interpreters[runtime]
        digest = hashlib.sha256(lock_files(interpreter)[0].read_bytes())
        digest.update(f"{interpreter.path} {interpreter.version}".encode())
        return self._root / "debuggers" / runtime / digest.hexdigest()[:16] / ARCHIVE


def lock_files(interpreter: Interpreter) -> tuple[Path, Path]:
    """The constraints of debugpy and of its installation tools, for the interpreter's version."""
    return constraints(interpreter, "debug.txt"), constraints(interpreter, "build.txt")


def pin_of(lock: Path) -> str:
    """For example `debugpy==1.5.1`."""
    return lines_of(lock)[0].partition(" ")[0]


def _pack(folder: Path, target: Path) -> None:
    files = sorted(path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in files:
            entry = zipfile.ZipInfo(f"{FOLDER}/{path.relative_to(folder).as_posix()}", _EPOCH)
            entry.external_attr = (0o100755 if path.suffix == ".so" else 0o100644) << 16
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, path.read_bytes())
