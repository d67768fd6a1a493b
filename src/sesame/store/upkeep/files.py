"""Reads files for checks and copies: computes digests, and compares trees.

Used by `store.upkeep.check` and `store.upkeep.backup`. Everything here blocks.
"""

import errno
import hashlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import fastcrc
import msgspec

CHUNK_BYTES = 1024 * 1024


class Sums(msgspec.Struct, frozen=True):
    """Digests of the first bytes of a file. `md5` is upper-case hex, `sha256` lower-case."""

    size: int
    crc64: int
    md5: str
    sha256: str


class Summing:
    """Sums added bytes, and writes them to `target`."""

    def __init__(self, target: BinaryIO | None = None) -> None:
        self.size = 0
        self._target = target
        self._crc64 = 0
        self._md5, self._sha256 = hashlib.md5(usedforsecurity=False), hashlib.sha256()

    def add(self, chunk: bytes) -> None:
        self.size += len(chunk)
        self._crc64 = fastcrc.crc64.xz(chunk, self._crc64)
        self._md5.update(chunk)
        self._sha256.update(chunk)
        if self._target is not None:
            self._target.write(chunk)

    def sums(self) -> Sums:
        return Sums(self.size, self._crc64, self._md5.hexdigest().upper(), self._sha256.hexdigest())


def sums(path: Path, length: int | None = None, target: BinaryIO | None = None) -> Sums:
    """Sums at most `length` bytes, also writing them to `target`. Raises `OSError`, also if it is not a file."""
    summing = Summing(target)
    with open(path, "rb", buffering=0, opener=_open_file) as source:
        while length is None or summing.size < length:
            chunk = source.read(CHUNK_BYTES if length is None else min(CHUNK_BYTES, length - summing.size))
            if not chunk:
                break
            summing.add(chunk)
    return summing.sums()


def _open_file(path: str, flags: int) -> int:
    # O_NONBLOCK because opening a named pipe would otherwise wait for a writer.
    descriptor = os.open(path, flags | os.O_NONBLOCK)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "Is no file", path)
    return descriptor


def differences(expected: Path, found: Path) -> Iterator[str]:
    """Where two trees differ in names, kinds, permissions, link targets or bytes; paths below them, sorted."""
    wanted, there = _entries(expected), _entries(found)
    for name in sorted(wanted.keys() | there.keys()):
        if name not in there:
            yield f"{name} is missing"
        elif name not in wanted:
            yield f"{name} does not belong there"
        elif what := _difference(wanted[name], there[name]):
            yield f"{name} {what}"


def _difference(expected: Path, found: Path) -> str:
    wanted, there = expected.lstat(), found.lstat()
    if stat.S_IFMT(wanted.st_mode) != stat.S_IFMT(there.st_mode):
        return "is of another kind"
    if stat.S_ISLNK(wanted.st_mode):
        return "" if os.readlink(expected) == os.readlink(found) else "leads elsewhere"
    if stat.S_IMODE(wanted.st_mode) != stat.S_IMODE(there.st_mode):
        return f"has mode {stat.S_IMODE(there.st_mode):o} instead of {stat.S_IMODE(wanted.st_mode):o}"
    if stat.S_ISREG(wanted.st_mode) and (
        wanted.st_size != there.st_size or sums(expected).sha256 != sums(found).sha256
    ):
        return "has other bytes than the archive"
    return ""


def _entries(root: Path) -> dict[str, Path]:
    return {path.relative_to(root).as_posix(): path for path in root.rglob("*")} if root.is_dir() else {}
