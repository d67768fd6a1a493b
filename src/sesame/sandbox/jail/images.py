"""Prepares a container image's root for an instance: as root a detached mount; otherwise the jail mounts the path.

Used by `jail.volumes`; runtime/jail/image.py makes it the instance's root.
"""

import os
import platform
import re

import structlog

from sesame.sandbox.interface import ImageRoot
from sesame.sandbox.jail import mounts as jail_mounts
from sesame.sandbox.jail.idmaps import IdMaps

# The first Linux version in which overlayfs accepts an id-mapped mount as a layer.
_OVER_EXCHANGED = (5, 19)
# Of this many images it is remembered that they were mentioned in the log; beyond that, all are forgotten.
TOLD_MAX = 1000
_VERSION = re.compile(r"(\d+)\.(\d+)")

log = structlog.get_logger("sesame.sandbox")


class ImageMounts:
    """One per driver."""

    def __init__(self, idmaps: IdMaps) -> None:
        self._idmaps = idmaps
        self._exchanges = kernel_version() >= _OVER_EXCHANGED
        self._told: set[str] = set()

    def mount(self, image: ImageRoot, uid: int) -> int:
        """A descriptor of the image, read-only, for the caller to close. Blocks. Raises `OSError`.

        Files of the image's user belong to the instance's user, if the file system allows id mapping.
        """
        if not self._exchanges:
            self._tell(image, f"Linux {platform.release()} is older than 5.19")
            return jail_mounts.tree(image.root)
        directory = os.open(image.root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            return self._idmaps.mount(directory, (image.user_id, uid), (image.group_id, uid), read_only=True)
        except OSError as error:
            self._tell(image, str(error))
        finally:
            os.close(directory)
        return jail_mounts.tree(image.root)

    def _tell(self, image: ImageRoot, why: str) -> None:
        """POLICY: an image runs even if its files cannot be mapped, but can then only change what all users may."""
        if image.name not in self._told:
            if len(self._told) >= TOLD_MAX:
                self._told.clear()
            self._told.add(image.name)
            log.warning("files of an image stay those of its own users", image=image.name, why=why)


def kernel_version() -> tuple[int, int]:
    found = _VERSION.match(platform.release())
    return (int(found[1]), int(found[2])) if found else (0, 0)
