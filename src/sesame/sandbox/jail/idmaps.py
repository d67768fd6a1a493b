"""Swaps a volume's owner and an instance's user for one mount, while files on the disk keep their owner.

Used by `jail.volumes` and `jail.images`, as root. The kernel expects the mapping as a user namespace, which
`idmap_process` creates.
"""

import os

from sesame.sandbox.jail import mounts as jail_mounts
from sesame.sandbox.jail.namespace_process import NamespaceProcess

_IDS = 2**32 - 1


class IdMaps:
    """Its process runs from the first request until `close`."""

    def __init__(self) -> None:
        self.process = NamespaceProcess("sesame.sandbox.jail.idmap_process")

    def namespace(self, users: tuple[int, int], groups: tuple[int, int]) -> int:
        """A descriptor of the namespace that swaps the ids of each pair. Blocks. Raises `OSError`."""
        return self.process.ask([exchange(*users), exchange(*groups)], 1)[0]

    def mount(self, directory: int, users: tuple[int, int], groups: tuple[int, int], *, read_only: bool = False) -> int:
        """A mount of the open directory in which the ids of each pair are swapped. The caller closes both.

        Blocks. Raises `OSError`, also if the file system does not support id mapping.
        """
        namespace = self.namespace(users, groups)
        try:
            return jail_mounts.tree_of(directory, namespace, read_only=read_only)
        finally:
            os.close(namespace)

    def close(self) -> None:
        self.process.close()


def exchange(on_disk: int, shown: int) -> str:
    """The map that swaps the two ids and leaves all others unchanged."""
    if on_disk == shown:
        return f"0 0 {_IDS}"
    low, high = sorted((on_disk, shown))
    lines = ((0, 0, low), (low, high, 1), (low + 1, low + 1, high - low - 1), (high, low, 1))
    rest = (high + 1, high + 1, _IDS - high - 1)
    return "\n".join(f"{inside} {outside} {count}" for inside, outside, count in (*lines, rest) if count)
