"""The folder for files of the data directory that no row of the database mentions: they are moved there, never deleted.

Used by the stores when they open. Files that the database mentions later, because another copy of it was restored, are
moved back.
"""

import os
from collections.abc import Iterator
from pathlib import Path

import structlog

from sesame.store.durable import make_folder, sync_folder

BLOBS, PACKAGES, STRAYS, LOGS = "blobs", "packages", "strays", "logs"

log = structlog.get_logger(__name__)


class Quarantine:
    """`root/<kind>/<name>`. Every method blocks. `root` is created when it is first needed."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def set_aside(self, path: Path, kind: str) -> bool:
        """Moves a file or folder here. If that fails, leaves it in place, logs this and returns False."""
        folder = self.root / kind
        target = folder / path.name
        try:
            make_folder(folder)
            number = 0
            while os.path.lexists(target):
                number += 1
                target = folder / f"{path.name}.{number}"
            path.rename(target)
            sync_folder(folder)
            sync_folder(path.parent)
        except OSError as error:
            log.error("a file that nothing mentions cannot be set aside and stays", path=str(path), error=str(error))
            return False
        return True

    def bring_back(self, kind: str, name: str, target: Path) -> bool:
        """Moves an entry to `target`, which must not exist; False if there is no such entry."""
        source = self.root / kind / name
        if not os.path.lexists(source):
            return False
        make_folder(target.parent)
        source.rename(target)
        sync_folder(source.parent)
        sync_folder(target.parent)
        return True

    def count(self) -> int:
        """The number of entries."""
        return sum(1 for _ in self.entries())

    def entries(self) -> Iterator[Path]:
        """Every entry."""
        if self.root.is_dir():
            for kind in self.root.iterdir():
                yield from kind.iterdir() if kind.is_dir() else (kind,)
