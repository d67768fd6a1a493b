"""The files of the driver `process`: a copy of the shim, and a directory for each instance.

Used by driver.py, in threads.
"""

import os
import shutil
from pathlib import Path

from sesame.sandbox.shim import SHIM


def lay_out(scratch: Path, shim: Path) -> None:
    """A copy of the shim, beside which each interpreter keeps its bytecode, and no instance of an earlier life."""
    clear(scratch)
    (scratch / "instances").mkdir(parents=True)
    shutil.copytree(SHIM, shim, ignore=shutil.ignore_patterns("__pycache__", "*.pyc"))


def clear(scratch: Path) -> None:
    """Removes what is the driver's. A function may have made directories that cannot be removed: they are left."""
    for part in ("shim", "instances"):
        shutil.rmtree(scratch / part, ignore_errors=True)


def size_bytes(directory: Path) -> int:
    """Bytes taken below `directory`; what disappears meanwhile does not count."""
    total = 0
    for path, _directories, files in os.walk(directory):
        for file in files:
            try:
                total += os.lstat(os.path.join(path, file)).st_blocks * 512
            except FileNotFoundError:
                continue
    return total
