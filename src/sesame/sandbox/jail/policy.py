"""What holds for every instance of one jail driver: its grade, how processors are shared, which walls stand.

Made by jail.py; read by the parts of the jail.
Never changes while a driver is open.
"""

import msgspec

FILE_DESCRIPTORS = 100_000
PROCESSES = 1024
DISK_WITHOUT_WALL_MB = 4096

# Every wall that a test can take away, to show that an attack succeeds without it. Nothing else takes one away.
WALLS = frozenset({
    "mount", "pid", "ipc", "uts", "cgroup namespace", "descriptors", "root", "read-only", "nosuid", "disk", "proc",
    "user", "no new privileges", "scope", "seccomp", "dumpable", "memory", "processes", "limits",
})  # fmt: skip


class Terms(msgspec.Struct, frozen=True):
    """`user_namespace`: made by an ordinary user. `cpu`: shares or cloud. `without`: names of `WALLS`."""

    user_namespace: bool = False
    cpu: str = "shares"
    file_descriptors: int = FILE_DESCRIPTORS
    without: frozenset[str] = frozenset()

    def holds(self, wall: str) -> bool:
        assert wall in WALLS, wall
        return wall not in self.without

    @property
    def host_is_visible(self) -> bool:
        """To the zygote: it then mounts from there for its instances, and each drops it."""
        return self.user_namespace or not self.holds("root")
