"""Makes FUSE mounts as the isolation level of instances allows it, with the device through which each is served.

Used by `jail.buckets`. Root mounts by itself; an ordinary user has `fuse_process` do it, in a user namespace.
"""

import os
from typing import NamedTuple

from sesame.sandbox.buckets.fuse import Owner
from sesame.sandbox.jail import mounts
from sesame.sandbox.jail.namespace_process import NamespaceProcess


class Served(NamedTuple):
    """An open /dev/fuse, and a mount that whoever serves the device fills: descriptors."""

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
        """Whose the processes of the instance that has this user id are on the host."""
        # In a user namespace its id stands for whoever runs Sesame.
        return Owner(os.getuid(), os.getgid()) if self._user_namespace else Owner(instance_uid, instance_uid)

    def mount(self, owner: Owner, *, read_only: bool) -> Served:
        """One that only processes of this user and group can reach. Blocks. Raises `OSError`."""
        if self._user_namespace:
            return Served(*self._process.ask([read_only], 2))
        return Served(*mounts.fuse(owner, read_only=read_only))

    def close(self) -> None:
        self._process.close()
