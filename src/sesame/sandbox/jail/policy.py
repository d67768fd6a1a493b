"""What applies to every instance of one jail driver: namespaces, sharing of processors, and walls.

Created by `jail.driver` when it opens, and constant from then on; read by the other parts of the jail.
"""

from pathlib import Path

import msgspec

from sesame.sandbox.launch import Launch

FILE_DESCRIPTORS = 100_000
PROCESSES = 1024
DISK_WITHOUT_WALL_MB = 4096

# The walls of the jail. Tests remove one at a time to show that an attack then succeeds; nothing else does.
WALLS = frozenset({
    "mount", "pid", "ipc", "uts", "cgroup namespace", "descriptors", "root", "read-only", "nosuid", "disk", "proc",
    "boot parameters", "network",
    "user", "no new privileges", "scope", "seccomp", "dumpable", "memory", "processes", "limits",
})  # fmt: skip


class JailPolicy(msgspec.Struct, frozen=True):
    """`user_namespace`: an ordinary user makes the jail. `cpu`: shares or cloud. `without`: omitted `WALLS`.

    `network`: host (every instance shares the host's), egress or none. In the latter two each instance has its own
    network, where the host answers, with a way out for egress, and functions trust the certificates in `trusted`.
    """

    user_namespace: bool = False
    cpu: str = "shares"
    network: str = "host"
    file_descriptors: int = FILE_DESCRIPTORS
    without: frozenset[str] = frozenset()
    trusted: Path | None = None

    def holds(self, wall: str) -> bool:
        assert wall in WALLS, wall
        return wall not in self.without

    def has_own_network(self, launch: Launch) -> bool:
        """Whether instances launched in this way have their own network."""
        return (self.network != "host" or launch.own_network) and self.holds("network")

    @property
    def host_is_visible(self) -> bool:
        """Whether the zygote sees the host's files; instances bind from them and drop them before user code runs."""
        return self.user_namespace or not self.holds("root")
