"""Makes a directory whole or not at all: it is filled under another name beside its place, and renamed in the end.

Used by `obtain` for interpreters, and by `sesame.build` for packages and for what is deployed.
"""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path


def _none(_folder: Path) -> bool:
    return False


@contextmanager
def staged(final: Path, *, keep: Callable[[Path], bool] = _none) -> Iterator[Path]:
    """An empty directory that gets the name `final` in the end, in place of what has it, unless that is one to `keep`.

    Nothing is left of it if something fails.
    """
    final.parent.mkdir(parents=True, exist_ok=True)
    staging = final.with_name(f".{final.name}.{os.getpid()}.part")
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir()
    try:
        yield staging
        if not (final.exists() and keep(final)):
            _put(staging, final)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _put(staging: Path, final: Path) -> None:
    old = staging.with_name(f"{staging.name}.old")
    if final.exists():
        final.rename(old)
    try:
        staging.rename(final)
    except OSError:
        # Another command has made the same meanwhile.
        if not final.is_dir():
            raise
    shutil.rmtree(old, ignore_errors=True)
