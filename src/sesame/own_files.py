"""Tells whether Sesame's own files have been replaced since this process started, by the installation of another one.

Used wherever a helper process is started: its program is read from the files that are there then, and may not
understand this process.
"""

from pathlib import Path

import structlog

# Files of every installation: an installer replaces each, even where its content stays the same.
_TOLD_BY = ("__init__.py", "commit.txt")
STEP = "run `sesame upgrade`, or `sesame cluster upgrade` for a cluster"

log = structlog.get_logger("sesame")


class OwnFiles:
    """Created when the process starts."""

    def __init__(self, package: Path) -> None:
        self._package = package
        self._at_start = _state(package)
        self._told: set[str] = set()

    @property
    def hint(self) -> str:
        """To append to the failure of a helper process: why it may have failed, and the next step; "" if unchanged."""
        if not self._replaced:
            return ""
        return f" (another Sesame was installed since this one started, whose programs may not fit: {STEP})"

    def warn(self, helper: str) -> None:
        """Call before a process of the kind `helper` is started. Logs once for each kind."""
        if helper not in self._told and self._replaced:
            self._told.add(helper)
            log.warning(
                "a helper process is started from files of another Sesame, which was installed since this one started: "
                + STEP,
                helper=helper,
            )

    @property
    def _replaced(self) -> bool:
        return _state(self._package) != self._at_start


def _state(package: Path) -> tuple[tuple[int, int, int] | None, ...]:
    return tuple(_state_of(package / name) for name in _TOLD_BY)


def _state_of(path: Path) -> tuple[int, int, int] | None:
    """None for a missing file, as during an installation. Its change time is left out: hard links change it."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns


OWN_FILES = OwnFiles(Path(__file__).parent)
