"""Installs the packages that the cloud ships with the Node.js runtimes, ahead of use, from the committed locks.

`sesame runtimes install nodejs` installs them with npm; functions find them after their own and those of layers. They
are scripts without compiled parts, so that every Node.js can share them.
"""

import hashlib
import os
import shutil
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path

import msgspec

from sesame import timed_programs
from sesame.model.errors import ConfigurationError
from sesame.model.limits import NODE_RUNTIMES
from sesame.sandbox.runtimes import nodes
from sesame.sandbox.runtimes.site_packages import FAILURE_LINES_SHOWN, Progress, locked, make_read_only, remove

LOCKS = Path(__file__).parent / "node_locks"
# The newest runtime that a list is for, oldest list first; the vendor publishes none for the runtimes between.
LISTS = ("nodejs10", "nodejs16", "nodejs20")
# Names all Node.js runtimes in `sesame runtimes install`.
ALL = "nodejs"
GET_NPM = "install npm, which comes with Node.js (Debian: apt install npm)"
INSTALL_TIMEOUT_S = 900.0
PROOF_TIMEOUT_S = 60.0
# Loaded once after installation, so that a broken package is noticed then, not during a call.
PROOF = "for (const name of process.argv.slice(1)) require(process.cwd() + '/node_modules/' + name)"
_NO_NETWORK = ("ENOTFOUND", "EAI_AGAIN", "ECONNREFUSED", "ECONNRESET", "ETIMEDOUT", "network")


class NodeManifest(msgspec.Struct, frozen=True):
    """The contents of one directory, as NAME@VERSION. Written before the directory gets its final name."""

    packages: tuple[str, ...]


class NodePackages:
    """The packages of the Node.js runtimes: `<root>/<list>/<hash of the lock>/node_modules`."""

    def __init__(self, root: Path, programs: Mapping[str, Path], locks: Path = LOCKS) -> None:
        """`programs` are the Node.js of each runtime."""
        self.root = root
        self._programs = programs
        self._locks = locks

    def path(self, runtime: str) -> Path | None:
        """The directory that contains `node_modules`; None if the runtime's packages are not installed."""
        return self.folder(runtime) if self.manifest(runtime) else None

    def manifest(self, runtime: str) -> NodeManifest | None:
        try:
            return msgspec.json.decode((self.folder(runtime) / "manifest.json").read_bytes(), type=NodeManifest)
        except (OSError, msgspec.DecodeError):
            # Absent, unreadable or damaged: the packages are unusable, and installing them again reports the reason.
            return None

    def folder(self, runtime: str) -> Path:
        lock = self._locks / list_of(runtime) / "package-lock.json"
        return self.root / list_of(runtime) / hashlib.sha256(lock.read_bytes()).hexdigest()[:16]

    def install(self, runtime: str, progress: Progress) -> None:
        """Installs the runtime's packages; does nothing if they are installed.

        Raises `ConfigurationError` with the end of npm's output and advice; nothing is then left on the disk.
        """
        if self.manifest(runtime):
            return
        if runtime not in self._programs:
            raise ConfigurationError(f"{runtime} has no Node.js here: {nodes.HOW_TO_GET}")
        npm = shutil.which("npm")
        if npm is None:
            raise ConfigurationError(
                f"the packages of {runtime} could not be installed: npm was not found on PATH; {GET_NPM}, then again: "
                f"sesame runtimes install {runtime}"
            )
        self.root.mkdir(parents=True, exist_ok=True)
        with locked(self.root / f".{list_of(runtime)}.lock", progress):
            if not self.manifest(runtime):
                self._install(runtime, npm, progress)

    def _install(self, runtime: str, npm: str, progress: Progress) -> None:
        final = self.folder(runtime)
        staging = final.with_name(f".{final.name}.part")
        began_at = time.monotonic()
        packages = pins(self._locks / list_of(runtime))
        progress(f"{list_of(runtime)}: installing {len(packages)} packages …")
        remove(staging)
        staging.mkdir(parents=True)
        try:
            for name in ("package.json", "package-lock.json"):
                shutil.copyfile(self._locks / list_of(runtime) / name, staging / name)
            options = ("--ignore-scripts", "--omit=dev", "--no-audit", "--no-fund", "--no-bin-links")
            _run(runtime, [npm, "ci", *options, "--prefix", str(staging)], INSTALL_TIMEOUT_S)
            _run(runtime, self._proof(runtime, staging), PROOF_TIMEOUT_S)
            (staging / "manifest.json").write_bytes(msgspec.json.encode(NodeManifest(packages)))
            make_read_only(staging)
            staging.rename(final)
        finally:
            remove(staging)
        progress(f"{list_of(runtime)}: {len(packages)} packages installed in {time.monotonic() - began_at:.0f} s")

    def _proof(self, runtime: str, folder: Path) -> list[str]:
        script = f"process.chdir({msgspec.json.encode(str(folder)).decode()}); {PROOF}"
        return [str(self._programs[runtime]), "-e", script, *names(runtime, self._locks)]


def list_of(runtime: str) -> str:
    """The list of the runtime's packages: its own, or that of the next newer runtime that has one."""
    return next(name for name in LISTS if NODE_RUNTIMES.index(name) >= NODE_RUNTIMES.index(runtime))


def names(runtime: str, locks: Path = LOCKS) -> tuple[str, ...]:
    """The packages that the cloud promises for the runtime."""
    listed = msgspec.json.decode((locks / list_of(runtime) / "package.json").read_bytes(), type=_Listed)
    return tuple(listed.dependencies)


def pins(lists: Path) -> tuple[str, ...]:
    """Everything that the lock in this directory installs."""
    lock = msgspec.json.decode((lists / "package-lock.json").read_bytes(), type=_Lock)
    return tuple(
        f"{path.rpartition('node_modules/')[2]}@{entry.version}" for path, entry in lock.packages.items() if path
    )


class _Listed(msgspec.Struct):
    dependencies: dict[str, str]


class _Entry(msgspec.Struct):
    version: str = ""


class _Lock(msgspec.Struct):
    packages: dict[str, _Entry]


def _run(runtime: str, command: list[str], within_s: float) -> None:
    try:
        done = timed_programs.run(command, within_s, merged=True, env=_environment())
    except subprocess.TimeoutExpired as error:
        raise ConfigurationError(
            f"{runtime}: the packages could not be installed: `{command[0]}` has not ended after {within_s:.0f} s; "
            "check the network and npm's settings (`npm config get registry`), then again: "
            f"sesame runtimes install {runtime}"
        ) from error
    if done.returncode != 0:
        raise ConfigurationError(_advice(runtime, done.stdout))


def _environment() -> dict[str, str]:
    """npm's settings as the user has them; a NODE_PATH of the user must not stand in for what is missing."""
    return {name: value for name, value in os.environ.items() if name not in ("NODE_PATH", "NODE_OPTIONS")}


def _advice(runtime: str, text: str) -> str:
    if any(sign in text for sign in _NO_NETWORK):
        why = "the registry cannot be reached: check the network and npm's settings (`npm config get registry`)"
    elif "EINTEGRITY" in text:
        why = "a package is not the one that the lock pins: check what registry npm uses (`npm config get registry`)"
    else:
        why = "its last lines say why"
    shown = "\n".join(f"    {line}" for line in text.splitlines()[-FAILURE_LINES_SHOWN:])
    return (
        f"{runtime}: the packages could not be installed; {why}.\n{shown}\n"
        f"    Then again: sesame runtimes install {runtime}"
    )
