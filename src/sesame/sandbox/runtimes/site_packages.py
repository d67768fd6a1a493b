"""Installs the packages that the cloud ships with each runtime, ahead of use, from the committed constraints.

`sesame runtimes install` installs them; drivers append `path` to a function's `sys.path`. The interpreter's own
packages are not changed, and no network is needed once `install` has returned.
"""

import fcntl
import hashlib
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import msgspec

from sesame.model.errors import ConfigurationError
from sesame.sandbox.runtimes.interpreters import MINOR_VERSIONS, Interpreter
from sesame.sandbox.runtimes.pip_bootstrap import BootstrappedPip, PipFailed, temporary_folder

CONSTRAINTS = Path(__file__).parent / "constraints"
PARALLEL_INSTALLS = 2
FAILURE_LINES_SHOWN = 12
# Imported once after installation, so that a broken build is noticed then, not during a call.
PROOF = "import oss2, requests, google.protobuf, lxml.etree, scrapy, pip, pkg_resources"

Progress = Callable[[str], None]


class Manifest(msgspec.Struct, frozen=True):
    """The contents of one directory. Written before the directory gets its final name, so a named one is complete."""

    runtime: str
    python: str
    packages: tuple[str, ...]


class SitePackages:
    """The packages of all runtimes: `<root>/<runtime>/<hash of constraints and interpreter>/site-packages`."""

    def __init__(self, root: Path, interpreters: Mapping[str, Interpreter]) -> None:
        self.root = root
        self._interpreters = interpreters

    def path(self, runtime: str) -> Path | None:
        """The directory of the runtime's packages; None if they are not installed."""
        return self.folder(runtime) / "site-packages" if self.manifest(runtime) else None

    def manifest(self, runtime: str) -> Manifest | None:
        """The packages installed for the runtime and its current interpreter; None if there are none."""
        if runtime not in self._interpreters:
            return None
        try:
            return msgspec.json.decode((self.folder(runtime) / "manifest.json").read_bytes(), type=Manifest)
        except (OSError, msgspec.DecodeError):
            # Absent, unreadable or damaged: the packages are unusable, and installing them again reports the reason.
            return None

    def install_all(self, runtimes: Sequence[str], progress: Progress) -> None:
        """Installs the missing packages of several runtimes. A failure does not stop the others."""
        failures: list[str] = []

        def attempt(runtime: str) -> None:
            try:
                self.install(runtime, lambda line: progress(f"{runtime}: {line}"))
            except ConfigurationError as error:
                failures.append(str(error))

        with ThreadPoolExecutor(max_workers=PARALLEL_INSTALLS) as threads:
            list(threads.map(attempt, runtimes))
        if failures:
            raise ConfigurationError("\n".join(failures))

    def install(self, runtime: str, progress: Progress) -> None:
        """Installs the runtime's packages; does nothing if they are installed.

        Raises `ConfigurationError` with the end of pip's output and advice; nothing is then left on the disk.
        """
        if self.manifest(runtime):
            return
        self.root.mkdir(parents=True, exist_ok=True)
        with locked(self.root / f".{runtime}.lock", progress):
            if not self.manifest(runtime):
                self._install(self._interpreters[runtime], progress)

    def folder(self, runtime: str) -> Path:
        interpreter = self._interpreters[runtime]
        lock, build = lock_files(interpreter)
        digest = hashlib.sha256(lock.read_bytes() + build.read_bytes())
        digest.update(f"{interpreter.path} {interpreter.version}".encode())
        return self.root / runtime / digest.hexdigest()[:16]

    def _install(self, interpreter: Interpreter, progress: Progress) -> None:
        lock, build = lock_files(interpreter)
        pins = lines_of(lock)
        final = self.folder(interpreter.runtime)
        staging = final.with_name(f".{final.name}.part")
        began_at = time.monotonic()
        progress(f"installing {len(pins)} packages for CPython {interpreter.version} …")
        remove(staging)
        (staging / "site-packages").mkdir(parents=True)
        try:
            with temporary_folder() as folder:
                pip = BootstrappedPip(interpreter, Path(folder))
                pip.fetch(lines_of(build))
                pip.run(
                    ["install", "--no-deps", "--no-build-isolation", "--no-warn-script-location",
                     "--target", str(staging / "site-packages"), "-r", str(lock)],
                    progress,
                )  # fmt: skip
            if interpreter.minor < (3, 3):
                _make_namespaces_importable(interpreter, staging / "site-packages")
            prove(interpreter, staging / "site-packages")
            manifest = Manifest(interpreter.runtime, interpreter.version, tuple(pins))
            (staging / "manifest.json").write_bytes(msgspec.json.format(msgspec.json.encode(manifest)))
            make_read_only(staging)
            staging.rename(final)
        except PipFailed as failed:
            raise ConfigurationError(advice(interpreter, failed)) from failed
        finally:
            remove(staging)
        progress(f"{len(pins)} packages installed in {time.monotonic() - began_at:.0f} s")


def lock_files(interpreter: Interpreter) -> tuple[Path, Path]:
    """The constraints of the packages and of their build tools, for the interpreter's version."""
    return constraints(interpreter, "txt"), constraints(interpreter, "build.txt")


def constraints(interpreter: Interpreter, kind: str) -> Path:
    """The committed file of this kind for the interpreter's version, or for the nearest older one."""
    older = [name for name, minor in MINOR_VERSIONS.items() if minor <= interpreter.minor]
    return CONSTRAINTS / f"{older[-1] if older else interpreter.runtime}.{kind}"


def lines_of(path: Path) -> list[str]:
    lines = (line.partition("#")[0].strip() for line in path.read_text(encoding="utf-8").splitlines())
    return [line for line in lines if line]


def _make_namespaces_importable(interpreter: Interpreter, folder: Path) -> None:
    """Python 2 finds namespace packages (`google`) through .pth files, but only in its own site-packages."""
    for listing in folder.glob("*-info/namespace_packages.txt"):
        for name in listing.read_text(encoding="utf-8").split():
            init = folder.joinpath(*name.split("."), "__init__.py")
            if init.parent.is_dir() and not init.exists():
                init.write_text("__path__ = __import__('pkgutil').extend_path(__path__, __name__)\n")
                command = [str(interpreter.path), "-m", "compileall", "-q", "-l", str(init.parent.absolute())]
                # From a directory without modules, which could shadow the standard library.
                subprocess.run(command, check=True, cwd=os.sep)


def prove(interpreter: Interpreter, folder: Path) -> None:
    # -S hides the interpreter's own packages, as for a function.
    done = subprocess.run(
        [str(interpreter.path), "-E", "-s", "-S", "-c", f"import sys; sys.path.append({str(folder)!r}); {PROOF}"],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
        check=False,
    )  # fmt: skip
    if done.returncode != 0:
        raise PipFailed(f"`{PROOF}` fails", done.stdout.splitlines())


def advice(interpreter: Interpreter, failed: PipFailed) -> str:
    text = "\n".join(failed.lines)
    if "command 'gcc' failed" in text or "command 'cc' failed" in text or "unable to execute" in text:
        advice = "a package is built from source: a C compiler is needed (Debian: apt install gcc libc6-dev)"
    elif "Could not find a version" in text or "No matching distribution" in text:
        advice = "the package index lacks some of them: check the network and pip's settings (PIP_INDEX_URL, pip.conf)"
    elif "onnection" in text or "timed out" in text or "resolve" in text:
        advice = "the package index cannot be reached: check the network and pip's settings (PIP_INDEX_URL, PIP_PROXY)"
    else:
        advice = "pip's last lines say why"
    shown = "\n".join(f"    {line}" for line in failed.lines[-FAILURE_LINES_SHOWN:])
    return (
        f"{interpreter.runtime}: the packages could not be installed under {interpreter.path}; {advice}.\n{shown}\n"
        f"    Then again: sesame runtimes install {interpreter.runtime}"
    )


@contextmanager
def locked(path: Path, progress: Progress) -> Iterator[None]:
    with path.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            progress("another installation is under way; waiting for it …")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def make_read_only(folder: Path) -> None:
    for parent, _folders, files in os.walk(folder):
        for name in files:
            path = os.path.join(parent, name)
            if not os.path.islink(path):
                os.chmod(path, 0o444)
        # The top directory stays writable until it is renamed, because renaming changes its entry `..`.
        os.chmod(parent, 0o755 if parent == str(folder) else 0o555)


def remove(folder: Path) -> None:
    if not folder.exists():
        return
    for parent, _folders, _files in os.walk(folder):
        os.chmod(parent, 0o755)
    shutil.rmtree(folder)
