"""The files of the driver `plain`: a copy of the shim, and a directory for each instance.

Used by `process.driver`, in threads.
"""

import os
import shutil
from pathlib import Path

from sesame.sandbox.shim import SHIM


def lay_out(scratch: Path, shim: Path) -> None:
    """Removes what an earlier run left, and copies the shim, so that interpreters can store bytecode beside it."""
    clear(scratch)
    (scratch / "instances").mkdir(parents=True)
    shutil.copytree(SHIM, shim, ignore=shutil.ignore_patterns("__pycache__", "*.pyc"))


def clear(scratch: Path) -> None:
    """Removes the driver's files, except directories that a function has made unremovable."""
    for part in ("shim", "instances"):
        shutil.rmtree(scratch / part, ignore_errors=True)


def size_bytes(directory: Path) -> int:
    """Bytes used below `directory`, not counting files that disappear meanwhile."""
    total = 0
    for path, _directories, files in os.walk(directory):
        for file in files:
            try:
                total += os.lstat(os.path.join(path, file)).st_blocks * 512
            except FileNotFoundError:
                continue
    return total
