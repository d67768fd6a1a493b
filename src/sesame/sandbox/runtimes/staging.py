"""Creates a directory atomically: fills it under a temporary name beside its place, then renames it.

Used by `obtain` for interpreters, and by `sesame.build` for packages and deployments.
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
    """Yields an empty directory that replaces `final` at the end, unless `keep` returns True for an existing `final`.

    Nothing of it is left if an exception is raised.
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
        # Another command has created the same directory.
        if not final.is_dir():
            raise
    shutil.rmtree(old, ignore_errors=True)
