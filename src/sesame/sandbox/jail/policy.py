"""What holds for every instance of one jail driver: its namespaces, how processors are shared, which walls stand.

Made by `jail.driver` when it opens, unchanged from then on; read by the other parts of the jail.
"""

from pathlib import Path

import msgspec

from sesame.sandbox.launch import Launch

FILE_DESCRIPTORS = 100_000
PROCESSES = 1024
DISK_WITHOUT_WALL_MB = 4096

# The walls of the jail. Tests leave one away each to show that an attack then succeeds; nothing else does.
WALLS = frozenset({
    "mount", "pid", "ipc", "uts", "cgroup namespace", "descriptors", "root", "read-only", "nosuid", "disk", "proc",
    "boot parameters", "network",
    "user", "no new privileges", "scope", "seccomp", "dumpable", "memory", "processes", "limits",
})  # fmt: skip


class JailPolicy(msgspec.Struct, frozen=True):
    """`user_namespace`: the jail is made by an ordinary user. `cpu`: shares or cloud. `without`: names of `WALLS`.

    `network`: host (every instance shares the host's), egress or none (each has its own, where it finds the host's
    answers, in egress among them a way out), where functions trust the certificates in the file `trusted`.
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
        """Whether instances that are launched so have a network of their own."""
        return (self.network != "host" or launch.own_network) and self.holds("network")

    @property
    def host_is_visible(self) -> bool:
        """Whether the zygote sees the host's files; instances then bind from them and drop them before user code."""
        return self.user_namespace or not self.holds("root")
