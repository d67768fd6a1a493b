"""The lock of interpreters that come from a conda channel: exact builds and their SHA-256, a file in the sources.

Read by `obtain.conda`; written by `sesame runtimes lock`. An entry without packages pins a build whose digests nobody
has recorded yet; what is then taken from the channel is recorded on the machine that took it.
"""

import os
import platform
import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec

from sesame.model.errors import ConfigurationError

COMMITTED = Path(__file__).parent / "conda.lock.json"
PLATFORMS = ("linux-64", "linux-aarch64", "osx-64")
_SUBDIRS = {
    ("linux", "x86_64"): "linux-64",
    ("linux", "aarch64"): "linux-aarch64",
    ("darwin", "x86_64"): "osx-64",
    # Rosetta runs programs for Intel processors; there are no builds for Apple's of these versions.
    ("darwin", "arm64"): "osx-64",
}


class LockedPackage(msgspec.Struct, frozen=True, kw_only=True):
    """One archive of the channel. `sha256` in hexadecimal digits, `size` in bytes."""

    name: str
    version: str
    build: str
    build_number: int
    subdir: str
    file_name: str
    sha256: str
    size: int


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """The interpreter of one runtime on one platform. `build` is "" where only the version is known."""

    runtime: str
    platform: str
    python: str
    build: str = ""
    packages: tuple[LockedPackage, ...] = ()

    @property
    def has_digests(self) -> bool:
        return bool(self.packages)

    def named(self) -> str:
        return f"CPython {self.python} {self.build}".rstrip()


class Lock(msgspec.Struct, frozen=True, kw_only=True):
    note: str
    entries: tuple[Entry, ...]

    def entry(self, runtime: str, on: str) -> Entry | None:
        return next((each for each in self.entries if (each.runtime, each.platform) == (runtime, on)), None)


def read(path: Path = COMMITTED) -> Lock:
    """Raises `ConfigurationError` for a file that is no lock."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Lock)
    except (OSError, msgspec.DecodeError) as error:
        raise ConfigurationError(
            f"{path} is no lock of interpreters: {error}; `sesame runtimes lock` makes one"
        ) from error


def write(lock: Lock, path: Path) -> None:
    """Replaces the file as a whole, so that an interrupted command leaves the old one."""
    draft = path.with_name(f".{path.name}.part")
    draft.write_bytes(msgspec.json.format(msgspec.json.encode(lock)) + b"\n")
    os.replace(draft, path)


def merged(lock: Lock, entries: Sequence[Entry]) -> Lock:
    """The lock with these entries in place of those for the same runtime and platform."""
    kept = {(each.runtime, each.platform): each for each in (*lock.entries, *entries)}
    return msgspec.structs.replace(lock, entries=tuple(kept[key] for key in sorted(kept)))


def this_platform() -> str:
    """The channel's name of this machine's platform; "" for one that has no builds of these versions."""
    return _SUBDIRS.get((sys.platform, platform.machine()), "")
