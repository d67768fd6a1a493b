"""Creates FUSE mounts in the way that the instances' isolation level allows, with the device to serve each.

Used by `jail.buckets`. Root mounts directly; for an ordinary user `fuse_process` does so, in a user namespace.
"""

import os
from typing import NamedTuple

from sesame.sandbox.buckets.fuse import Owner
from sesame.sandbox.jail import mounts
from sesame.sandbox.jail.namespace_process import NamespaceProcess


class Served(NamedTuple):
    """Descriptors of an open /dev/fuse and of the mount that is served through it."""

    device: int
    mount: int

    def close(self) -> None:
        os.close(self.device)
        os.close(self.mount)


class FuseMounts:
    def __init__(self, *, user_namespace: bool) -> None:
        self._user_namespace = user_namespace
        self._process = NamespaceProcess("sesame.sandbox.jail.fuse_process")

    def owner(self, instance_uid: int) -> Owner:
        """The host's user and group ids for processes of the instance with this user id."""
        # In a user namespace, the instance's id maps to the user who runs Sesame.
        return Owner(os.getuid(), os.getgid()) if self._user_namespace else Owner(instance_uid, instance_uid)

    def mount(self, owner: Owner, *, read_only: bool) -> Served:
        """Creates a mount that only this user and group can access. Blocks. Raises `OSError`."""
        if self._user_namespace:
            return Served(*self._process.ask([read_only], 2))
        return Served(*mounts.fuse(owner, read_only=read_only))

    def close(self) -> None:
        self._process.close()
