"""Mounts buckets into instances, each with a FUSE connection of its own: files are its user's, and nobody else may ask.

Used by `jail.instance`; runtime/jail/volumes.py puts the mounts in place. No process of Sesame's may walk such a mount,
root's included: the kernel answers only the instance's user there.
"""

import os
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from sesame.model.bucket_mount import BucketMount
from sesame.model.invocation import Credentials
from sesame.sandbox.buckets.server import BucketServer, ServedBucket, cannot_mount
from sesame.sandbox.interface import SandboxSpec
from sesame.sandbox.jail import mounts as jail_mounts
from sesame.sandbox.jail.late import Lend, opened
from sesame.sandbox.network import Answers

DEVICE = Path("/dev/fuse")


class BucketMounts:
    """One for each driver, which sets `problem` to what `why_not` found."""

    def __init__(self, drafts: Path, answers: Answers) -> None:
        self._server = BucketServer(drafts, answers)
        self.problem = ""

    async def lend(self, spec: SandboxSpec, uid: int, lend: Lend, lost: Callable[[], None]) -> "InstanceBuckets":
        """As `VolumeMounts.lend`. Raises `SandboxStartFailed`; then none of them is served."""
        lent = InstanceBuckets()
        try:
            for mount in spec.buckets:
                device, fd = await self._mounted(mount, uid)
                lent.orders.append((mount.mount_dir, lend(fd), "", ()))
                try:
                    lent.served.append(await self._server.serve(mount, spec.keys, uid, device, lost))
                finally:
                    os.close(device)
        except BaseException:
            lent.end()
            raise
        return lent

    async def close(self) -> None:
        await self._server.close()

    async def _mounted(self, mount: BucketMount, uid: int) -> tuple[int, int]:
        """As `_mount`. Raises `SandboxStartFailed`."""
        if self.problem:
            raise cannot_mount(mount, self.problem)
        try:
            return await opened(partial(_mount, uid, read_only=mount.read_only), _close)
        except OSError as error:
            raise cannot_mount(mount, str(error)) from error


class InstanceBuckets:
    """Those of one instance. `orders` is for runtime/jail/volumes.py."""

    def __init__(self) -> None:
        self.orders: list[tuple[str, int, str, Sequence[str]]] = []
        self.served: list[ServedBucket] = []

    def use(self, keys: Credentials) -> None:
        """As `ServedBucket.use`."""
        for each in self.served:
            each.use(keys)

    def end(self) -> None:
        """As `ServedBucket.end`."""
        for each in self.served:
            each.end()


def why_not(*, user_namespace: bool) -> str:
    """Why no bucket can be mounted here, and what to do; "" where they can. Blocks."""
    instead = "or have the function use the OSS SDK in place of files"
    if user_namespace:
        return (
            f"buckets are mounted by a Sesame that runs as root, and this one runs as another user: use sudo, {instead}"
        )
    try:
        device, fd = _mount(0, read_only=True)
    except OSError as error:
        return (
            f"FUSE cannot be used here: {error}; load the kernel's module (modprobe fuse), in a container show it the "
            f"device (--device /dev/fuse), {instead}"
        )
    os.close(fd)
    os.close(device)
    return ""


def _mount(uid: int, *, read_only: bool) -> tuple[int, int]:
    """An open /dev/fuse, and a mount that whoever serves the device fills. Raises `OSError`."""
    device = os.open(DEVICE, os.O_RDWR | os.O_CLOEXEC)
    try:
        return device, jail_mounts.fuse_mount(device, uid, read_only=read_only)
    except BaseException:
        os.close(device)
        raise


def _close(made: tuple[int, int]) -> None:
    for fd in made:
        os.close(fd)
