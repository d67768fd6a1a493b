"""Checks of a code directory for local calls: whether a jail's user can read it, and whether it has changed.

Used by `cli.local` and `cli.kept`. Never writes to the directory.
"""

import hashlib
import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

from sesame.deploy import folder
from sesame.model.errors import ConfigurationError

OTHERS_MAY_READ, OTHERS_MAY_ENTER = 0o004, 0o005
COPY_BYTES_MAX = 512 * 1024 * 1024
FILES_MAX = 100_000
# Directories that no function imports, and that may be large.
_LEFT_OUT = frozenset({".git", ".hg", ".svn", "__pycache__", "node_modules", ".venv", "sesame-data"})


def others_may_read(code: Path) -> bool:
    """Whether other users can read every file of the code."""
    if code.stat().st_mode & OTHERS_MAY_ENTER != OTHERS_MAY_ENTER:
        return False
    for path in _everything(code):
        needed = OTHERS_MAY_ENTER if path.is_dir() else OTHERS_MAY_READ
        if not path.is_symlink() and path.stat().st_mode & needed != needed:
            return False
    return True


def copy_for_others(code: Path, target: Path) -> Path:
    """Makes a copy that everybody can read. Raises `ConfigurationError` if the code is too large."""
    _make(target)
    total = 0
    for path in _everything(code):
        place = target / path.relative_to(code)
        if path.is_symlink():
            place.symlink_to(os.readlink(path))
        elif path.is_dir():
            _make(place)
        elif path.is_file():
            total += path.stat().st_size
            if total > COPY_BYTES_MAX:
                raise ConfigurationError(
                    f"the user of a jail may not read {code}, and it is too large to be copied for a call: "
                    f"`chmod -R o+rX {code}`, or use --sandbox plain"
                )
            shutil.copyfile(path, place)
            place.chmod(0o755 if path.stat().st_mode & 0o100 else 0o644)
    return target


def _make(folder: Path) -> None:
    folder.mkdir()
    # Sets the mode regardless of the umask.
    folder.chmod(0o755)


def fingerprint(code: Path) -> str:
    """Changes when a file of the code is written, added or removed."""
    known = hashlib.sha256()
    for path in _everything(code):
        found = path.lstat()
        known.update(
            f"{path}\0{found.st_mtime_ns}\0{found.st_size}\0{found.st_mode}\n".encode("utf-8", "surrogateescape")
        )
    return known.hexdigest()


def runtimes_for(code: Path, handler: str) -> Sequence[str]:
    """The runtimes that may run a handler without a named runtime, the best first."""
    source = code.joinpath(*handler.rpartition(".")[0].replace("/", ".").split(".")).with_suffix(".py")
    return ("python2.7",) if source.is_file() and folder.needs_python2(source) else folder.NEWEST_FIRST


def _everything(code: Path) -> Iterator[Path]:
    count = 0
    for parent, folders, names in os.walk(code):
        folders[:] = sorted(name for name in folders if name not in _LEFT_OUT)
        for name in (*folders, *sorted(names)):
            count += 1
            if count > FILES_MAX:
                raise ConfigurationError(
                    f"{code} has more than {FILES_MAX} files: name the folder of the code with --code"
                )
            yield Path(parent, name)
