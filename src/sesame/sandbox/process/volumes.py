"""Volumes without mounts: a function sees the host's files, so a volume must lie where the function looks for it.

Used by `process.driver`.
"""

import os
from collections.abc import Sequence

from sesame.model.bucket_mount import BucketMount
from sesame.sandbox.interface import SandboxStartFailed, StartFailure
from sesame.sandbox.volumes import Volume

NO_BUCKETS = (
    "the sandbox plain makes no mounts: run Sesame as root on Linux with --sandbox jail, or have the function use the "
    "OSS SDK in place of files"
)


def refuse_buckets(buckets: Sequence[BucketMount]) -> None:
    """Raises `SandboxStartFailed` if there are any buckets."""
    if buckets:
        names = ", ".join(mount.bucket for mount in buckets)
        raise SandboxStartFailed(f"the bucket '{names}' cannot be mounted: {NO_BUCKETS}", StartFailure.REFUSED)


def require_in_place(volumes: Sequence[Volume]) -> None:
    """Raises `SandboxStartFailed` unless each volume is found at its target, for example through a link."""
    for volume in volumes:
        if not _is_there(volume):
            raise SandboxStartFailed(
                f"'{volume.name}' cannot be mounted at {volume.target}: the sandbox plain makes no mounts. Run "
                "Sesame on Linux with --sandbox jail; or name a directory in [mounts], and make a link to it there",
                StartFailure.REFUSED,
            )


def _is_there(volume: Volume) -> bool:
    fd = volume.open()
    try:
        expected, opened = os.stat(volume.target), os.fstat(fd)
        return os.path.samestat(expected, opened)
    except OSError:
        return False
    finally:
        os.close(fd)
