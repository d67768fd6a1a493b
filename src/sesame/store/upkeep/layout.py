"""The layout of a data directory, and which entries have the wrong type: a file for a directory or the reverse.

Checked by `data_dir` before a start and by `sesame doctor --check`. Reads nothing but the type of each entry.
"""

import os
from collections.abc import Iterator
from pathlib import Path

import msgspec

# Relative to the data directory. A start creates missing ones.
DIRECTORIES = (
    "authority", "follower", "follower/packages", "images", "logstores", "objects", "objects/data", "objects/drafts",
    "packages", "packages/staging", "quarantine", "sandboxes",
)  # fmt: skip
FILES = (
    "sesame.db", "sesame.db.lock", "logstores.db", "lock", "node.lock", "endpoints.json", "endpoints.part",
    "credentials.json", "credentials.part", "node.json", "node.part",
)  # fmt: skip


class Misplaced(msgspec.Struct, frozen=True):
    """An entry of the wrong type. `expected` is "directory" or "file"."""

    path: Path
    expected: str

    def __str__(self) -> str:
        return f"{self.path} is {_kind(self.path)}, expected a {self.expected}"


def misplaced(root: Path) -> Iterator[Misplaced]:
    """Links count as their targets; a missing entry is not an error."""
    for name in DIRECTORIES:
        if os.path.lexists(root / name) and not (root / name).is_dir():
            yield Misplaced(root / name, "directory")
    for name in FILES:
        if (root / name).exists() and not (root / name).is_file():
            yield Misplaced(root / name, "file")


def _kind(path: Path) -> str:
    if path.is_dir():
        return "a directory"
    if path.is_file():
        return "a file"
    return "a link that leads nowhere" if path.is_symlink() else "a special file"
