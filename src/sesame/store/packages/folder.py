"""The folder of code packages, used on threads: `<sha256>/` with `archive.zip`, `code/` and `compiled/<runtime>`.

Called by `store.packages.packages`. Every method blocks.
"""

import hashlib
import re
import secrets
import shutil
from collections.abc import Collection
from pathlib import Path

import structlog

from sesame.model.errors import Unusable
from sesame.store.durable import make_folder, sync_folder, sync_tree, write_file
from sesame.store.packages.unpack import unpack
from sesame.store.quarantine import PACKAGES, STRAYS, Quarantine

_STAGING = "staging"
_CODE, _ARCHIVE, _COMPILED = "code", "archive.zip", "compiled"
_SHA256 = re.compile(r"[0-9a-f]{64}\Z")
# Created by versions that compiled packages in place.
_FORMER = "compiling"

log = structlog.get_logger(__name__)


class PackageFolder:
    """Nothing else uses `root`. A package's folder is complete from the moment it has its name."""

    def __init__(self, root: Path, quarantine: Quarantine) -> None:
        self._root = root
        self._quarantine = quarantine

    def code(self, sha256: str) -> Path:
        return self._root / sha256 / _CODE

    def archive(self, sha256: str) -> Path:
        return self._root / sha256 / _ARCHIVE

    def compiled(self, sha256: str, runtime: str) -> Path:
        return self._root / sha256 / _COMPILED / runtime

    def is_whole(self, sha256: str) -> bool:
        return self.code(sha256).is_dir() and self.archive(sha256).is_file()

    def open(self) -> None:
        """Removes incomplete packages, quarantines foreign entries, and undoes the former compiling in place."""
        make_folder(self._root / _STAGING)
        shutil.rmtree(self._root / _FORMER, ignore_errors=True)
        for leftover in (self._root / _STAGING).iterdir():
            log.info("removing an unfinished package", folder=leftover.name)
            _remove(leftover)
        for path in list(self._root.iterdir()):
            if path.name != _STAGING and not (_SHA256.match(path.name) and path.is_dir() and not path.is_symlink()):
                self._quarantine.set_aside(path, STRAYS)
        for sha256 in self.all():
            if any(not mark.stat().st_size for mark in _files(self._root / sha256 / _COMPILED)):
                self._unpack_again(sha256)

    def all(self) -> list[str]:
        """The SHA-256 of every package in the folder."""
        return [path.name for path in self._root.iterdir() if path.name != _STAGING]

    def stage(self, archive: bytes) -> Path:
        """Unpacks into the staging folder. Raises `Unusable`, and then leaves nothing behind."""
        staging = self._root / _STAGING / secrets.token_hex(8)
        try:
            for folder in (staging, staging / _CODE, staging / _COMPILED):
                folder.mkdir()
            unpack(archive, staging / _CODE)
            write_file(staging / _ARCHIVE, archive)
            sync_tree(staging)
        except BaseException:
            shutil.rmtree(staging, ignore_errors=True)
            raise
        return staging

    def publish(self, staging: Path, sha256: str) -> None:
        """Gives a staged package its name; replaces one that has lost a part."""
        target = self._root / sha256
        if target.exists():
            self._hide(target)
        staging.rename(target)
        sync_folder(self._root)

    def remove(self, sha256: str) -> None:
        """Renames the package first and then deletes it: after a crash in between, the next start deletes the rest."""
        target = self._root / sha256
        if target.exists():
            _remove(self._hide(target))

    def restore(self, sha256: str) -> bool:
        """Restores `code/` from the archive, or the whole package from the quarantine; False without either."""
        package = self._root / sha256
        if not (package.exists() or self._quarantine.bring_back(PACKAGES, sha256, package)):
            return False
        return self.code(sha256).is_dir() or self._unpack_again(sha256)

    def reconcile(self, live: Collection[str], released: Collection[str]) -> "tuple[int, int]":
        """Compares with the catalog; returns how many packages were quarantined, and how many brought back.

        A package that is neither live nor released may belong to records that a damaged or older database has lost.
        """
        here = set(self.all())
        strangers = sorted(here - set(live) - set(released))
        aside = sum(self._quarantine.set_aside(self._root / sha256, PACKAGES) for sha256 in strangers)
        missing = sorted(set(live) - here)
        back = sum(self._quarantine.bring_back(PACKAGES, sha256, self._root / sha256) for sha256 in missing)
        return aside, back

    def write_compiled(self, sha256: str, runtime: str, archive: Path) -> None:
        """Moves a finished file into the package. It is complete or absent, even after a crash."""
        target = self.compiled(sha256, runtime)
        make_folder(target.parent)
        archive.chmod(0o644)
        archive.replace(target)
        sync_folder(target.parent)

    def scratch(self) -> Path:
        """A new path on the same file system; the next start removes what a crash leaves there."""
        return self._root / _STAGING / secrets.token_hex(8)

    def _unpack_again(self, sha256: str) -> bool:
        """False if the archive is missing or does not match its name."""
        archive = self.archive(sha256)
        try:
            content = archive.read_bytes()
        except OSError as error:
            log.error("a code package has lost its archive", package=sha256, error=str(error))
            return False
        if hashlib.sha256(content).hexdigest() != sha256:
            log.error("the archive of a code package is damaged", package=sha256)
            return False
        try:
            staging = self.stage(content)
        except Unusable as error:
            log.error("the archive of a code package is no longer accepted", package=sha256, error=str(error))
            return False
        self.publish(staging, sha256)
        log.warning("unpacked a code package again", package=sha256)
        return True

    def _hide(self, target: Path) -> Path:
        hidden = self.scratch()
        target.rename(hidden)
        return hidden


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()


def _files(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if path.is_file()] if folder.is_dir() else []
