"""Bounds the cache of installed packages: deletes entries not used for long, and the oldest beyond a total size.

Called by `build.installer` after an installation. An entry is a directory of the cache; its modification time is the
time of its last use.
"""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import msgspec

UNUSED_MAX_S = 90 * 86400.0
# POLICY: about forty sets of packages of the size of numpy and pandas.
BYTES_MAX = 4 * 10**9
# Another command may be copying from an entry used more recently.
IN_USE_S = 3600.0


class Entry(msgspec.Struct, frozen=True):
    """`used_at` is in Unix seconds."""

    folder: Path
    used_at: float
    size: int


def used(entry: Path) -> None:
    """Marks an entry as used now."""
    os.utime(entry)


def prune(cache: Path, now: float) -> list[Path]:
    """Deletes entries that are too old or exceed the size; returns the deleted directories."""
    deleted = []
    kept_bytes = 0
    for entry in sorted(_entries(cache), key=lambda each: each.used_at, reverse=True):
        unused_s = now - entry.used_at
        kept_bytes += entry.size
        if unused_s > UNUSED_MAX_S or (kept_bytes > BYTES_MAX and unused_s > IN_USE_S):
            kept_bytes -= entry.size
            # Best effort: a directory that cannot be deleted is tried again next time.
            shutil.rmtree(entry.folder, ignore_errors=True)
            deleted.append(entry.folder)
    return deleted


def _entries(cache: Path) -> Iterator[Entry]:
    for folder in cache.iterdir():
        try:
            if folder.is_dir():
                yield Entry(folder, folder.stat().st_mtime, _size(folder))
        except FileNotFoundError:
            # Another command has deleted it.
            continue


def _size(folder: Path) -> int:
    files = (Path(parent) / name for parent, _folders, names in os.walk(folder) for name in names)
    return sum(file.lstat().st_size for file in files)
