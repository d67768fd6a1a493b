"""The lock file of interpreters from a conda channel, part of the sources: exact builds and their SHA-256.

Read by `obtain.conda`; written by `sesame runtimes lock`. An entry without packages pins a build whose digests have not
been recorded yet; the digests then taken from the channel are recorded on the machine itself.
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
    # Rosetta runs programs for Intel processors; these versions have no builds for Apple's own.
    ("darwin", "arm64"): "osx-64",
}


class LockedPackage(msgspec.Struct, frozen=True, kw_only=True):
    """One archive of the channel. `sha256` is hexadecimal, `size` in bytes."""

    name: str
    version: str
    build: str
    build_number: int
    subdir: str
    file_name: str
    sha256: str
    size: int


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """The interpreter of one runtime on one platform. `build` is "" if only the version is pinned."""

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
    """Raises `ConfigurationError` if the file is not a lock."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Lock)
    except (OSError, msgspec.DecodeError) as error:
        raise ConfigurationError(
            f"{path} is not a lock file of interpreters: {error}; create one with `sesame runtimes lock`"
        ) from error


def write(lock: Lock, path: Path) -> None:
    """Replaces the file atomically, so that an interrupted command leaves the old one."""
    draft = path.with_name(f".{path.name}.part")
    draft.write_bytes(msgspec.json.format(msgspec.json.encode(lock)) + b"\n")
    os.replace(draft, path)


def merged(lock: Lock, entries: Sequence[Entry]) -> Lock:
    """The lock with these entries replacing those for the same runtime and platform."""
    kept = {(each.runtime, each.platform): each for each in (*lock.entries, *entries)}
    return msgspec.structs.replace(lock, entries=tuple(kept[key] for key in sorted(kept)))


def this_platform() -> str:
    """The channel's name for this platform; "" if there are no builds of these versions for it."""
    return _SUBDIRS.get((sys.platform, platform.machine()), "")
