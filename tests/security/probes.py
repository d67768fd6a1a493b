"""The attacks of tests/functions/attacks, and for each the walls that stop it.

Read by test_walls.py. Where walls stand one behind the other, an attack succeeds only when all of them are gone.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

# To be another process's superior one has to see it, to be root, and to be let by the filter and the scope.
SEES = frozenset({"pid", "proc"})
REACHES = SEES | {"user", "scope"}
ROOT_CALL = frozenset({"user", "seccomp"})


@dataclass(frozen=True)
class Probe:
    """`walls` are what stands in the way. `event` is told to the attacker; `spec` and `options` set the scene."""

    attack: str
    walls: frozenset[str]
    event: Mapping[str, Any] = field(default_factory=dict)
    spec: Mapping[str, Any] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)
    # Whether the wall is there for ordinary users too.
    for_users: bool = True
    needs: str = ""


def probe(attack: str, *walls: str | frozenset[str], **more: Any) -> Probe:
    named: set[str] = set()
    for wall in walls:
        named |= {wall} if isinstance(wall, str) else wall
    return Probe(attack, frozenset(named), **more)


BIG: dict[str, Any] = {"memory_mb": 3072}
OWN_NETWORK: dict[str, Any] = {"network": "none"}
SMALL: dict[str, Any] = {"memory_mb": 128}

PROBES = (
    # Another instance.
    probe("sees_processes", SEES),
    probe("takes_descriptor", REACHES, "seccomp"),
    # These two look at every process of the machine: one that costs less comes first for its set of walls.
    probe("reads_tmp", REACHES),
    probe("reads_environment", REACHES),
    probe("reads_credentials", REACHES),
    probe("reads_shm", REACHES),
    probe("reads_code", REACHES),
    probe("reads_memory", REACHES),
    probe("reads_memory_by_call", REACHES, "seccomp"),
    probe("signals", "pid", "user", "scope"),
    probe("traces", REACHES, "seccomp"),
    probe("shared_memory", "ipc"),
    probe("host_name", ROOT_CALL, "uts"),
    # Its own guardian.
    probe("traces_init", "dumpable", "scope", "seccomp"),
    probe("reads_init", "dumpable", "scope"),
    probe("zygote_socket", "descriptors"),
    # The host's files.
    probe("shadow", "root", "user"),
    probe("host_path", "root", "user"),
    probe("symlink", "root", "user"),
    probe("own_link", "root", "user"),
    probe("process_roots", REACHES),
    probe("changes_code", "read-only"),
    probe("changes_layer", "read-only"),
    probe("opens_runtime", "read-only", "user"),
    probe("makes_device", "user"),
    probe("mounts", ROOT_CALL),
    probe("unmounts", ROOT_CALL),
    probe("remounts_code", ROOT_CALL),
    probe("clones_mount", ROOT_CALL),
    probe("changes_root", ROOT_CALL),
    probe("opens_by_handle", ROOT_CALL),
    probe("host_socket", "root", "user"),
    # Its network.
    *(
        probe("connects", "network", event={"host_address": address}, options=OWN_NETWORK)
        for address in ("127.0.0.1", "::1", "0.0.0.0", "::ffff:127.0.0.1")
    ),
    probe("sees_connections", "network", options=OWN_NETWORK),
    probe("abstract_socket", "scope", needs="scope"),
    # What the kernel offers to every process.
    probe("opens_sysctl", "proc", "user"),
    probe("opens_sysrq", "proc", "user", needs="/proc/sysrq-trigger"),
    probe("reads_kernel_memory", "user", needs="/proc/kcore"),
    probe("reads_kernel_log", ROOT_CALL),
    probe("enters_namespace", ROOT_CALL),
    probe("new_user_namespace", "seccomp"),
    probe("new_namespace_by_clone", "seccomp"),
    probe("new_namespace_by_clone3", "seccomp"),
    probe("adds_key", "seccomp"),
    probe("joins_keyring", "seccomp"),
    probe("loads_bpf", ROOT_CALL),
    probe("perf_events", "seccomp"),
    probe("user_faults", "seccomp"),
    probe("ring", "seccomp", needs="io_uring"),
    probe("personality", "seccomp"),
    probe("kernel_socket", "seccomp", needs="af_alg"),
    probe("packet_socket", ROOT_CALL),
    probe("audit_socket", "seccomp"),
    probe("traces_child", "seccomp"),
    probe("clock", "seccomp"),
    probe("module", ROOT_CALL, needs="/proc/modules"),
    probe("sees_cgroups", "cgroup namespace"),
    probe("boot_parameters", "boot parameters", "proc"),
    probe("asynchronous_io", "seccomp", needs="x86"),
    probe("enters_by_32_bits", "seccomp", needs="ia32"),
    probe("enters_by_x32", "seccomp", needs="x86"),
    # Privileges.
    probe("becomes_root", "user"),
    # Without no_new_privs neither the filter nor the scope can be had.
    probe("runs_setuid", "no new privileges", "nosuid", "scope", "seccomp"),
    probe("chowns", "user"),
    # Bombs.
    probe("forks", "processes", event={"most": 1100}, spec=BIG),
    probe("threads", "processes", event={"most": 1100}, spec=BIG),
    probe("memory", "memory", event={"mb": 300}, spec=SMALL),
    probe("shm", "memory", event={"mb": 127}, spec=SMALL),
    # The cheaper one first: of a set of walls one attack is made in more ways.
    probe("inodes", "disk", event={"most": 40_000}, spec=BIG),
    probe("disk", "disk", event={"mb": 600}, spec=BIG),
    probe("descriptors", "limits", event={"most": 1000}, options={"file_descriptors": 500}),
    probe("core", "limits"),
)


def one_of_each_set(probes: Iterable[Probe]) -> tuple[Probe, ...]:
    """Of each set of walls one attack on it; one that every kernel knows where there is any."""
    chosen: dict[frozenset[str], Probe] = {}
    for each in sorted(probes, key=lambda probe: bool(probe.needs)):
        chosen.setdefault(each.walls, each)
    return tuple(chosen.values())
