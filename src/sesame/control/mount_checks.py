"""The rules for what is mounted into a function's file system (reference/api.md §3.1).

Called by what keeps services and functions.
"""

import itertools
from collections.abc import Iterable

from sesame.control import checks
from sesame.model import limits
from sesame.model.errors import Invalid, Missing, Unusable
from sesame.model.nas import SERVER_ADDRESS_FORM, normalized_directory, parse_server_address
from sesame.model.service import NasConfig

MOUNT_POINTS_MAX = 5
MOUNT_DIR_CHARS = 255
# The cloud refuses the directories of the system; /code, /opt and /tmp belong to the function and its layers.
SYSTEM_DIRECTORIES = frozenset({
    "/bin", "/boot", "/code", "/dev", "/etc", "/lib", "/lib32", "/lib64", "/opt", "/proc", "/root", "/run", "/sbin",
    "/sys", "/tmp", "/usr", "/var",
})  # fmt: skip


def check_nas_config(config: NasConfig) -> None:
    """Raises `Rejected` for the first rule that is broken."""
    for label, value in (("user_id", config.user_id), ("group_id", config.group_id)):
        checks.between(f"nas_config.{label}", value, limits.NAS_ID_MIN, limits.NAS_ID_MAX)
    if len(config.mount_points) > MOUNT_POINTS_MAX:
        raise Invalid("nas_config.mount_points", f"at most {MOUNT_POINTS_MAX}", len(config.mount_points))
    for point in config.mount_points:
        if not point.server_addr:
            raise Missing("nas_config.mount_points.server_addr")
        if parse_server_address(point.server_addr) is None:
            raise Invalid("nas_config.mount_points.server_addr", SERVER_ADDRESS_FORM, checks.shown(point.server_addr))
    check_mount_dirs("nas_config.mount_points.mount_dir", [point.mount_dir for point in config.mount_points])


def refuse_oss_mounts(buckets: Iterable[str]) -> None:
    """Raises `Unusable` where there is one: buckets are not mounted here, and what is accepted is to be done."""
    if wanted := sorted({checks.shown(bucket) for bucket in buckets}):
        raise Unusable(
            f"ossMountConfig mounts the bucket '{', '.join(wanted)}', and buckets are not mounted here: read and write "
            "its objects with an OSS SDK at the endpoint of `sesame env`, or keep the files on a NAS (nasConfig)"
        )


def check_mount_dirs(label: str, directories: list[str]) -> None:
    """Raises `Rejected` unless each can be mounted on and none lies in another."""
    for directory in directories:
        if not directory.startswith("/") or "\0" in directory or ".." in directory.split("/"):
            raise Invalid(label, "an absolute path without '..'", checks.shown(directory))
        checks.length(label, directory, MOUNT_DIR_CHARS)
        top = "/" + normalized_directory(directory).split("/")[1]
        if top == "/" or top in SYSTEM_DIRECTORIES:
            expected = f"a directory that is not / and not in {', '.join(sorted(SYSTEM_DIRECTORIES))}"
            raise Invalid(label, expected, checks.shown(directory))
    ordered = sorted(f"{normalized_directory(directory)}/" for directory in directories)
    for outer, inner in itertools.pairwise(ordered):
        if inner.startswith(outer):
            raise Invalid(label, "directories of which none is in another", f"{outer[:-1]}, {inner[:-1]}")
