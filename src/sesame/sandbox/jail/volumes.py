"""Prepares volumes for an instance: as root, detached mounts sent as descriptors; otherwise paths for it to bind.

Used by `jail.instance`, also for the root of an image; runtime/jail/volumes.py attaches the volumes.
"""

import asyncio
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from sesame.sandbox.interface import ImageRoot, SandboxStartFailed, StartFailure
from sesame.sandbox.jail.idmaps import IdMaps
from sesame.sandbox.jail.images import ImageMounts
from sesame.sandbox.jail.late import Lend, opened
from sesame.sandbox.jail.policy import JailPolicy
from sesame.sandbox.volumes import Volume, VolumeUnavailable


class VolumeMounts:
    """One per driver."""

    def __init__(self, policy: JailPolicy) -> None:
        self._policy = policy
        self._idmaps = IdMaps()
        self._images = ImageMounts(self._idmaps)

    async def lend_root(self, image: ImageRoot | None, uid: int, lend: Lend) -> dict[str, Any] | None:
        """The input of runtime/jail/image.py. Raises `OSError`."""
        if image is None:
            return None
        mount = -1
        if not self._policy.user_namespace:
            mount = lend(await opened(partial(self._images.mount, image, uid), os.close))
        return {
            "mount": mount,
            "path": _without_links(image.root),
            "user_namespace": self._policy.user_namespace,
            "uid": uid,
            "home": image.home,
            "working_dir": image.working_dir,
        }

    async def lend(self, volumes: Sequence[Volume], uid: int, lend: Lend) -> list[tuple[str, int, str, Sequence[str]]]:
        """The input of runtime/jail/volumes.py.

        Raises `SandboxStartFailed`, which states what cannot be mounted and why.
        """
        if self._policy.user_namespace:
            for volume in volumes:
                # The instance opens the path again; opening it here reports what is wrong.
                os.close(await opened(partial(_opened, volume), os.close))
            return [(each.target, -1, str(each.base), each.parts) for each in volumes]
        orders: list[tuple[str, int, str, Sequence[str]]] = []
        for volume in volumes:
            fd = await opened(partial(self._mount, volume, uid), os.close)
            orders.append((volume.target, lend(fd), "", ()))
        return orders

    def close(self) -> None:
        self._idmaps.close()

    def _mount(self, volume: Volume, uid: int) -> int:
        directory = _opened(volume)
        try:
            return self._idmaps.mount(directory, (volume.user_id, uid), (volume.group_id, uid))
        except OSError as error:
            raise SandboxStartFailed(
                f"'{volume.name}' cannot be mounted at {volume.target}: {error}; the file system of its directory may "
                "not know mounts with other owners, as ext4, XFS, Btrfs and tmpfs do since Linux 5.12 to 6.3: name a "
                "directory on such a file system in [mounts], or use another --data-dir",
                StartFailure.REFUSED,
            ) from error
        finally:
            os.close(directory)


def _without_links(path: Path) -> str:
    """Resolves links, because the instance opens the path in a root where they would lead elsewhere."""
    return str(path.resolve())


class VolumeLook:
    """One look at the disks of volumes: each directory is checked once, however many instances use it.

    The check runs in `executor`, because the file system of a volume may not respond.
    """

    def __init__(self, executor: ThreadPoolExecutor, reserve_mb: int | None) -> None:
        self._executor = executor
        self._reserve_mb = reserve_mb
        self._found: dict[tuple[Path, str], str] = {}

    async def shortage(self, volumes: Sequence[Volume]) -> str:
        """The first shortage reported by `Volume.shortage`; "" while every disk has room."""
        for volume in volumes:
            # The name is part of the key because it is part of the message.
            key = (volume.base, volume.name)
            if key not in self._found:
                asking = asyncio.get_running_loop().run_in_executor(self._executor, volume.shortage, self._reserve_mb)
                self._found[key] = await asking
            if self._found[key]:
                return self._found[key]
        return ""


def _opened(volume: Volume) -> int:
    try:
        return volume.open()
    except VolumeUnavailable as error:
        raise SandboxStartFailed(str(error), StartFailure.REFUSED) from error


def why_not_mounted(directory: Path) -> str:
    """Why this user could not mount volumes in this directory; "" if they can. Blocks."""
    if os.geteuid() != 0:
        return ""
    idmaps, fd = IdMaps(), os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.close(idmaps.mount(fd, (0, 1), (0, 1)))
    except OSError as error:
        return str(error)
    finally:
        os.close(fd)
        idmaps.close()
    return ""
