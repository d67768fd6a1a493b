"""Decides what a jail's root contains: the interpreter, its libraries, names, certificates and devices, nothing else.

Called by `jail.zygote_client` before it starts a zygote; runtime/jail/root.py carries the plan out. Shows no directory
that could hold a user's own files.
"""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from sesame.sandbox.jail.installation import files_of
from sesame.sandbox.jail.policy import JailPolicy
from sesame.sandbox.launch import Launch
from sesame.sandbox.network import HOST_ADDRESS, TRUSTED
from sesame.sandbox.shim import SHIM

SHIM_ROOT = "/var/sesame/runtime"
SITE_PACKAGES_ROOT = "/var/sesame/site-packages"
# Certificate files in the runtimes' packages, which are read whatever the environment says.
_BROUGHT_CERTIFICATES = ("aliyunsdkcore/vendored/requests/packages/certifi/cacert.pem", "certifi/cacert.pem")
# Read by runtime/jail/steps.py.
HOSTS = "/var/sesame/hosts"
FIRST_UID = 10_000
# How many users have names in the cloud's images (reference/runtime.md §11).
NAMED_UIDS = 1_000
# The cloud's default (reference/runtime.md §11). The loader reads it when a zygote starts, before any code is mounted.
LIBRARY_PATH = "/code/:/code//lib:/opt/lib:/usr/local/lib"
# What the loader, the C library and the interpreter read only when a program starts.
_READ_AT_START = ("LD_", "GLIBC_TUNABLES", "MALLOC_")
_READ_BY_PYTHON = frozenset({
    "PYTHONHASHSEED", "PYTHONMALLOC", "PYTHONUTF8", "PYTHONCOERCECLOCALE", "PYTHONOPTIMIZE", "PYTHONFAULTHANDLER",
    "PYTHONTRACEMALLOC", "PYTHONDEVMODE", "PYTHONINTMAXSTRDIGITS", "PYTHONDEBUG", "PYTHONVERBOSE",
})  # fmt: skip

# These must exist when a zygote starts, because its loader looks once and treats a missing directory as absent.
_DIRECTORIES = (
    "/code/lib", "/opt/lib", "/opt/bin", "/opt/python", "/usr/local/lib", "/tmp", "/var/tmp", "/dev/shm",
    "/proc", "/sys", "/home", "/root", "/mnt", "/run", "/var/log/fc",
)  # fmt: skip
_SYSTEM = ("/usr/bin", "/usr/sbin", "/usr/lib", "/usr/lib32", "/usr/lib64", "/usr/libexec", "/usr/share")
_MERGED = ("/bin", "/sbin", "/lib", "/lib32", "/lib64")
# Directories are mounted; files are copied, because each mount slows down every instance.
_ETC_DIRECTORIES = (
    "/etc/ssl/certs", "/etc/pki/tls", "/etc/pki/ca-trust", "/etc/ca-certificates", "/etc/alternatives", "/etc/fonts",
    "/etc/ImageMagick-6", "/etc/ImageMagick-7",
)  # fmt: skip
_ETC_FILES = (
    "/etc/ssl/openssl.cnf", "/etc/ld.so.cache", "/etc/ld.so.conf", "/etc/localtime", "/etc/timezone",
    "/etc/mime.types", "/etc/services", "/etc/protocols", "/etc/gai.conf",
    "/etc/host.conf", "/etc/os-release", "/etc/debian_version",
)  # fmt: skip
_DEVICES = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom")
_LINKS = (
    ("/dev/fd", "/proc/self/fd"), ("/dev/stdin", "/proc/self/fd/0"), ("/dev/stdout", "/proc/self/fd/1"),
    ("/dev/stderr", "/proc/self/fd/2"), ("/etc/mtab", "/proc/self/mounts"), ("/var/run", "/run"),
    # Each instance has its own files, with its own name (runtime/jail/steps.py).
    ("/etc/hosts", "/run/hosts"), ("/etc/hostname", "/run/hostname"),
)  # fmt: skip
# For instances that share the host's network; others ask the host's name server (sandbox/network.py).
_RESOLVER = "/etc/resolv.conf"
_OWN_RESOLVER = f"nameserver {HOST_ADDRESS}\n"
_NSSWITCH = "passwd: files\ngroup: files\nhosts: files dns\nservices: files\nprotocols: files\n"


def root_plan(launch: Launch, staging: Path, policy: JailPolicy) -> dict[str, Any]:
    """The message that runtime/jail/root.py expects. `staging` is an empty directory to mount on.

    Raises `NotSeparable` if the interpreter's files cannot be told from unrelated files beside them.
    """
    interpreter = launch.interpreter.resolve()
    writable = "read-only" in policy.without
    binds = [(path, path, writable) for path in _read_only(interpreter, launch.shown)]
    binds.append((str(SHIM), SHIM_ROOT, writable))
    if launch.site_packages is not None:
        binds.append((str(launch.site_packages), SITE_PACKAGES_ROOT, writable))
    # Each instance mounts its own over it. In a user namespace the kernel allows that only over a full one.
    binds.append(("/proc", "/proc", True))
    own_network = policy.has_own_network(launch)
    copied = [(path, path) for path in (_ETC_FILES if own_network else (*_ETC_FILES, _RESOLVER))]
    if own_network and policy.trusted is not None:
        copied.append((str(policy.trusted), TRUSTED))
        if launch.site_packages is not None:
            binds += _trusted_by_packages(launch.site_packages, policy.trusted)
    return {
        "parent": os.getpid(),
        "user_namespace": policy.user_namespace,
        "keep_host": policy.host_is_visible,
        "staging": str(staging),
        "directories": [*_DIRECTORIES],
        "links": [*_LINKS, *_merged_links()],
        "files": [*_files(), *([(_RESOLVER, _OWN_RESOLVER)] if own_network else [])],
        "copies": [[path, target] for path, target in copied if os.path.isfile(path) and os.access(path, os.R_OK)],
        "devices": _DEVICES,
        "binds": binds,
        "argv": [str(interpreter), "-S", "-s", "-u", "-W", "ignore", f"{SHIM_ROOT}/jail/zygote.py", launch.shim],
        "environment": {
            "PATH": f"{interpreter.parent}:/usr/local/bin:/usr/bin:/bin",
            "LD_LIBRARY_PATH": LIBRARY_PATH,
            "LANG": "C.UTF-8",
            "HOME": "/tmp",
        },
    }


def _trusted_by_packages(site_packages: Path, trusted: Path) -> Iterator[tuple[str, str, bool]]:
    """Mounts the trusted certificates over those in the runtime's packages, but not over those in a function's code."""
    for name in _BROUGHT_CERTIFICATES:
        if os.path.isfile(site_packages / name):
            yield str(trusted), f"{SITE_PACKAGES_ROOT}/{name}", False


def needs_own_start(environment: Mapping[str, str]) -> bool:
    """Whether a function sets variables that only take effect at the start of a program, so not in a forked zygote."""
    for name, value in environment.items():
        if name == "LD_LIBRARY_PATH":
            if [os.path.normpath(part) for part in value.split(":") if part] != _library_directories():
                return True
        elif name.startswith(_READ_AT_START) or name in _READ_BY_PYTHON:
            return True
    return False


def _library_directories() -> list[str]:
    return [os.path.normpath(part) for part in LIBRARY_PATH.split(":")]


def _read_only(interpreter: Path, shown: tuple[Path, ...]) -> Iterator[str]:
    """Outermost directories only: a nested mount shows nothing more, and costs every instance time."""
    system = [path for path in _SYSTEM if os.path.isdir(path) and not os.path.islink(path)]
    yield from system
    yield from (path for path in _MERGED if os.path.isdir(path) and not os.path.islink(path))
    yield from map(str, files_of(interpreter))
    yield from (path for path in map(str, shown) if not path.startswith(_SYSTEM))
    yield from (path for path in _ETC_DIRECTORIES if os.path.isdir(path))


def _merged_links() -> Iterator[tuple[str, str]]:
    """/bin and the like, as links if the system has merged them into /usr."""
    for path in _MERGED:
        if os.path.islink(path):
            yield path, os.readlink(path)


def _files() -> Iterator[tuple[str, str]]:
    users = "".join(
        f"user{uid}:x:{uid}:{uid}::/tmp:/usr/sbin/nologin\n" for uid in range(FIRST_UID, FIRST_UID + NAMED_UIDS)
    )
    groups = "".join(f"user{uid}:x:{uid}:\n" for uid in range(FIRST_UID, FIRST_UID + NAMED_UIDS))
    nobody = "nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n"
    yield "/etc/passwd", f"root:x:0:0:root:/root:/bin/sh\n{users}{nobody}"
    yield "/etc/group", f"root:x:0:\n{groups}nogroup:x:65534:\n"
    yield "/etc/nsswitch.conf", _NSSWITCH
    yield HOSTS, _hosts()


def _hosts() -> str:
    """The host's /etc/hosts; the instance's own name and localhost are put before it."""
    try:
        return Path("/etc/hosts").read_text(errors="replace")
    except OSError:
        return ""
