"""Reserves a part of the data directory's disk for Sesame's own records, so that functions cannot fill it.

The engine starts no instance while the reserve is reached, and the driver `jail` then ends the instance with the
largest /tmp. `sandbox.volumes` applies the same reserve to the disks of volumes.
"""

import os
from pathlib import Path

MIB = 1024 * 1024
# POLICY: enough for the catalog, the queue and checkpoints of both to continue for long; a tenth of a small disk.
DISK_RESERVE_MB = 512
SMALL_DISK_PART = 10


class DiskReserve:
    """`folder` lies on the disk to watch."""

    def __init__(self, folder: Path, reserve_mb: int | None = None, *, of: str = "the data directory") -> None:
        """`of` names the folder in messages. Without `reserve_mb` the reserve depends on the disk's size."""
        self._folder = folder
        self._reserve_mb = reserve_mb
        self._of = of

    def shortage(self) -> str:
        """Why nothing that could fill the disk may be added; "" while there is room. Takes one system call."""
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
    """MB used on the file system of `folder`; 0 if the folder is gone."""
    try:
        found = os.statvfs(folder)
    except OSError:
        return 0.0
    return (found.f_blocks - found.f_bfree) * found.f_frsize / MIB
