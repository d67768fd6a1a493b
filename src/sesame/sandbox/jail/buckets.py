"""Mounts buckets into instances, each through its own FUSE connection, accessible only to the instance's user.

Used by `jail.instance`; runtime/jail/volumes.py attaches the mounts. No process of Sesame, not even root's, may access
such a mount: the kernel serves only the instance's user. Where that is also the user of Sesame, none of Sesame's
processes is in a mount namespace that contains such a mount.
"""

import asyncio
import os
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from sesame.model.bucket_mount import BucketMount
from sesame.model.invocation import Credentials
from sesame.sandbox.buckets.fuse import Owner
from sesame.sandbox.buckets.server import BucketServer, ServedBucket, cannot_mount
from sesame.sandbox.interface import SandboxSpec
from sesame.sandbox.jail.fuse_mounts import FuseMounts, Served
from sesame.sandbox.jail.isolation import Isolation
from sesame.sandbox.jail.late import Lend, opened
from sesame.sandbox.jail.mounts import FUSE_DEVICE
from sesame.sandbox.network import Answers


class BucketMounts:
    """One per driver.

    `problem` states why buckets cannot be mounted on this machine, and what to do; "" if they can.
    """

    def __init__(self, drafts: Path, answers: Answers) -> None:
        self._server = BucketServer(drafts, answers)
        self._fuse = FuseMounts(user_namespace=False)
        self.problem = ""

    def open(self, isolation: Isolation) -> None:
        """Must be called before the first `lend`."""
        self._fuse = FuseMounts(user_namespace=isolation.kind == "user")
        self.problem = _in_words(isolation.no_buckets) if isolation.no_buckets else ""

    async def lend(self, spec: SandboxSpec, uid: int, lend: Lend, lost: Callable[[], None]) -> "InstanceBuckets":
        """See `VolumeMounts.lend`. Raises `SandboxStartFailed`; none of the buckets is then served."""
        lent = InstanceBuckets()
        try:
            for mount in spec.buckets:
                owner = self._fuse.owner(uid)
                made = await self._mounted(mount, owner)
                lent.orders.append((mount.mount_dir, lend(made.mount), "", ()))
                try:
                    lent.served.append(await self._server.serve(mount, spec.keys, owner, made.device, lost))
                finally:
                    os.close(made.device)
        except BaseException:
            lent.end()
            raise
        return lent

    async def close(self) -> None:
        await self._server.close()
        await asyncio.to_thread(self._fuse.close)

    async def _mounted(self, mount: BucketMount, owner: Owner) -> Served:
        """See `FuseMounts.mount`. Raises `SandboxStartFailed`."""
        if self.problem:
            raise cannot_mount(mount, self.problem)
        try:
            return await opened(partial(self._fuse.mount, owner, read_only=mount.read_only), Served.close)
        except OSError as error:
            raise cannot_mount(mount, str(error)) from error


class InstanceBuckets:
    """The buckets of one instance. `orders` is for runtime/jail/volumes.py."""

    def __init__(self) -> None:
        self.orders: list[tuple[str, int, str, Sequence[str]]] = []
        self.served: list[ServedBucket] = []

    def use(self, keys: Credentials) -> None:
        """See `ServedBucket.use`."""
        for each in self.served:
            each.use(keys)

    def end(self) -> None:
        """See `ServedBucket.end`."""
        for each in self.served:
            each.end()


def _in_words(problem: str) -> str:
    instead = "or have the function use the OSS SDK in place of files"
    if os.path.exists(FUSE_DEVICE) and not os.access(FUSE_DEVICE, os.R_OK | os.W_OK):
        return (
            f"{FUSE_DEVICE} may not be opened by this user; have it be open to all users, as it is on most systems "
            f"(chmod 666 {FUSE_DEVICE}, and a udev rule that keeps it so), use sudo, {instead}"
        )
    return (
        f"FUSE cannot be used here: {problem}; load the kernel's module (modprobe fuse), in a container show it the "
        f"device (--device {FUSE_DEVICE}), {instead}"
    )
