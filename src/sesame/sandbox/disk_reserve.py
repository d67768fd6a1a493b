"""Keeps a part of the data directory's disk for Sesame's own records, whatever functions write.

Used by the engine, which starts no instance while the reserve is reached, and by the driver `jail`, which then ends the
instance that holds most. `sandbox.volumes` keeps the same of every disk that a volume is on.
"""

import os
from pathlib import Path

MIB = 1024 * 1024
# POLICY: what the catalog, the queue and a checkpoint of both need to go on for long; of a small disk, a tenth.
DISK_RESERVE_MB = 512
SMALL_DISK_PART = 10


class DiskReserve:
    """`folder` lies on the disk in question."""

    def __init__(self, folder: Path, reserve_mb: int | None = None, *, of: str = "the data directory") -> None:
        """`of` names the folder in what is said of it. Without `reserve_mb` the disk's size decides."""
        self._folder = folder
        self._reserve_mb = reserve_mb
        self._of = of

    def shortage(self) -> str:
        """Why nothing may be added that can fill the disk; "" while there is room. One system call."""
        found = os.statvfs(self._folder)
        free_mb = found.f_bavail * found.f_frsize // MIB
        reserve_mb = self._reserve_mb
        if reserve_mb is None:
            reserve_mb = min(DISK_RESERVE_MB, found.f_blocks * found.f_frsize // MIB // SMALL_DISK_PART)
        if free_mb >= reserve_mb:
            return ""
        return (
            f"the disk of {self._of} has {free_mb} MB left, and functions may not take the last {reserve_mb} MB; "
            "free some space"
        )


def used_mb(folder: Path) -> float:
    """Of the file system that `folder` is on; 0 when it has gone meanwhile."""
    try:
        found = os.statvfs(folder)
    except OSError:
        return 0.0
    return (found.f_blocks - found.f_bfree) * found.f_frsize / MIB
