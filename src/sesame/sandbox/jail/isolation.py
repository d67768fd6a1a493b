"""Determines how strong a jail can be on this machine, and lists what it enforces and what it does not.

Called by `jail.driver` at `open`, by `sandbox.drivers` and by `sesame doctor`. Tries the actual system calls, because
neither a version number nor a user id tells whether they are allowed.
"""

import json
import os
import platform
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import msgspec

from sesame import timed_programs
from sesame.sandbox.disk_reserve import DISK_RESERVE_MB
from sesame.sandbox.interface import Enforcement
from sesame.sandbox.jail import mounts as jail_mounts
from sesame.sandbox.jail.network import set_up
from sesame.sandbox.memory import MEMORY_WATCH_S
from sesame.sandbox.network import (
    HOST_ADDRESS,
    HOST_ADDRESS_6,
    INSTANCE_ADDRESS,
    INSTANCE_ADDRESS_6,
    Inside,
    Listen,
    WayOut,
)
from sesame.sandbox.shim import SHIM

PROBE_TIMEOUT_S = 20.0


class Isolation(msgspec.Struct, frozen=True):
    """The isolation level possible on this machine.

    `kind` is root, user (in a user namespace) or none; `reason` states why it is no better, `hint` what would help.
    `no_network` states why instances cannot have their own networks; "" if they can. `no_way_out` and `no_way_out_6`
    state why these networks cannot route IPv4 and IPv6 connections to the host, `no_buckets` why buckets cannot be
    mounted.
    """

    kind: str
    reason: str = ""
    hint: str = ""
    no_network: str = ""
    no_way_out: str = ""
    no_way_out_6: str = ""
    no_buckets: str = ""

    @property
    def possible(self) -> bool:
        return self.kind != "none"

    @property
    def leads_out(self) -> frozenset[int]:
        """See `SandboxDriver.leads_out`."""
        if self.no_network or self.no_way_out:
            return frozenset()
        return frozenset({4} if self.no_way_out_6 else {4, 6})


class Findings(msgspec.Struct, frozen=True):
    """What a driver can use on this machine. `controllers` are those of memory, pids and cpu that cgroups enforce."""

    isolation: Isolation
    controllers: frozenset[str]
    freezer: str
    disk_image: bool
    cpu: str
    network: str


def probe() -> Isolation:
    """The strongest isolation level possible here. Blocks for about 50 ms."""
    if not jail_mounts.supported():
        return Isolation("none", f"a jail needs Linux, and this is {platform.system()}", "use --sandbox plain")
    if not (SHIM / "jail" / "seccomp" / f"{platform.machine()}.bpf").exists():
        return Isolation("none", f"there is no system call filter for {platform.machine()}", "use --sandbox plain")
    as_root, without = _try("root")
    as_root = as_root or _detached_mounts_fail()
    if not as_root:
        return Isolation("root", **without)
    as_user, without = _try("user")
    why = "Sesame does not run as root" if os.geteuid() != 0 else f"root may not do everything here: {as_root}"
    if not as_user:
        return Isolation("user", why, "run as root for memory and process limits by the kernel", **without)
    return Isolation("none", f"{why}; without root: {as_user}", _advice())


def enforcement(held: Findings) -> tuple[Enforcement, ...]:
    """Every wall and limit of the jail as enforced here."""
    root = held.isolation.kind == "root"
    memory, pids, cpu = (name in held.controllers for name in ("memory", "pids", "cpu"))
    quota = "; a quota by memory size" if held.cpu == "cloud" else ""
    return (
        Enforcement("time limit", True, "the host's clock; then SIGKILL to process 1 of the instance"),
        Enforcement("processes ended with their instance", True, "a pid namespace for each instance"),
        Enforcement("own view of the file system", True, "a mount namespace; its root holds the runtime only"),
        Enforcement("read-only code and layers", True, "read-only mounts at /code and /opt"),
        Enforcement("own /tmp", True, "an ext4 image of its size" if held.disk_image else "a tmpfs of its size"),
        Enforcement("the disk's reserve", held.disk_image, _reserve(held)),
        Enforcement("/tmp is not charged to memory", held.disk_image or not memory, _tmp(held)),
        Enforcement(
            "own user", root, "a user id from 10000 up" if root else "shown as 10000, but Sesame's own to the host"
        ),
        Enforcement("no capabilities, no new privileges", True, "emptied sets; no_new_privs"),
        Enforcement("system calls", True, "a seccomp filter made by libseccomp"),
        Enforcement("own System V IPC and host name", True, "ipc and uts namespaces"),
        Enforcement(
            "memory", True,
            "the memory cgroup; the kernel kills" if memory
            else f"resident sets looked at every {MEMORY_WATCH_S:g} s until frozen; no memfd, no System V IPC",
        ),
        Enforcement("number of processes", True, "the pids cgroup" if pids else "RLIMIT_NPROC of its user namespace"),
        Enforcement("buffers of sockets", memory, "the memory cgroup" if memory else "64 KB each, of up to 208"),
        Enforcement(
            "processor", cpu,
            f"cgroup shares by memory size{quota}" if cpu else "needs a cpu cgroup; a crowd has the lowest priority",
        ),
        Enforcement("freezing while idle", True, held.freezer or "SIGSTOP to every process"),
        Enforcement("own network", held.network != "host", _network(held)),
    )  # fmt: skip


def _reserve(held: Findings) -> str:
    if held.disk_image:
        return f"below {DISK_RESERVE_MB} MB (a tenth of a small disk) nothing starts, and the largest /tmp ends"
    return "nothing starts without it; each /tmp is a tmpfs, and takes the host's memory"


def _network(held: Findings) -> str:
    if held.network == "host":
        return "the host's: functions reach Sesame on 127.0.0.1, and all else there"
    if held.network == "none":
        return "a network namespace for each instance, where Sesame's endpoints answer and nothing else"
    reached = "a network namespace for each instance: Sesame's endpoints, and the outside"
    if held.isolation.leads_out:
        return f"{reached} by TCP and UDP"
    return f"{reached} by an HTTP proxy alone: {held.isolation.no_way_out}"


def _tmp(held: Findings) -> str:
    return "its pages are a file's" if held.disk_image else "it is a tmpfs, and takes the host's memory"


def _try(kind: str) -> tuple[str, dict[str, str]]:
    """Returns what failed, or "", and what a working jail would lack, by the fields of `Isolation`."""
    with tempfile.TemporaryDirectory(prefix="sesame-probe-") as directory:
        try:
            probe = [sys.executable, "-E", "-s", "-S", "-B", str(SHIM / "jail" / "probe.py"), kind, directory]
            done = timed_programs.run([*probe, json.dumps(networks())], PROBE_TIMEOUT_S, env={}, merged=True)
        except subprocess.TimeoutExpired:
            return f"the probe did not end in {PROBE_TIMEOUT_S:g} s", {}
    lines = done.stdout.strip().splitlines()
    if done.returncode == 0:
        said = (line.partition(": ") for line in lines)
        return "", {field: problem for field, _colon, problem in said}
    return lines[-1] if lines else f"the probe ended with status {done.returncode}", {}


def networks() -> list[tuple[str, dict[str, Any]]]:
    """What runtime/jail/probe.py tries: each field of `Isolation` with the network setup it depends on."""
    ways_out = (
        ("no_way_out", WayOut(HOST_ADDRESS, 1, INSTANCE_ADDRESS, refused=("10.0.0.0/8",))),
        ("no_way_out_6", WayOut(HOST_ADDRESS_6, 1, INSTANCE_ADDRESS_6, refused=("fc00::/7",))),
    )
    tried = [("no_network", Inside())]
    for field, way in ways_out:
        listens = tuple(Listen(kind, way.host, way.port, takes_all=kind != "raw") for kind in ("tcp", "udp", "raw"))
        tried.append((field, Inside(listens, (way.host, way.source), ways_out=(way,))))
    return [(field, {"socket": 0, **set_up(inside)}) for field, inside in tried]


def _detached_mounts_fail() -> str:
    try:
        os.close(jail_mounts.tree(Path("/")))
    except OSError as error:
        return str(error)
    return ""


def _advice() -> str:
    """What to change: distributions restrict user namespaces by these switches."""
    for path, wanted in (
        ("/proc/sys/kernel/unprivileged_userns_clone", "1"),
        ("/proc/sys/kernel/apparmor_restrict_unprivileged_userns", "0"),
    ):
        try:
            if Path(path).read_text().strip() != wanted:
                name = path.removeprefix("/proc/sys/").replace("/", ".")
                return f"sysctl {name}={wanted}, or run as root; or use --sandbox plain"
        except OSError:
            continue
    return "run as root, or use --sandbox plain"
