"""The rules for mounts in a function's file system (reference/api.md §3.1).

Called by the modules that store services and functions.
"""

import itertools

from sesame.control import checks
from sesame.model import limits
from sesame.model.errors import Invalid, Missing, Unusable
from sesame.model.nas import SERVER_ADDRESS_FORM, normalized_directory, parse_server_address
from sesame.model.service import NasConfig, OssMountConfig

MOUNT_POINTS_MAX = 5
MOUNT_DIR_CHARS = 255
BUCKET_PATH_CHARS = 1023
BUCKET_NAME_FORM = "3 to 63 lower-case letters, digits or '-', of which the first and the last are no '-'"
# The cloud refuses system directories; /code, /opt and /tmp belong to the function and its layers.
SYSTEM_DIRECTORIES = frozenset({
    "/bin", "/boot", "/code", "/dev", "/etc", "/lib", "/lib32", "/lib64", "/opt", "/proc", "/root", "/run", "/sbin",
    "/sys", "/tmp", "/usr", "/var",
})  # fmt: skip


def check_nas_config(config: NasConfig) -> None:
    """Raises `Rejected` for the first violated rule."""
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


def check_oss_mount_config(config: OssMountConfig) -> None:
    """Raises `Rejected` for the first violated rule."""
    points = config.mount_points
    if len(points) > MOUNT_POINTS_MAX:
        raise Invalid("oss_mount_config.mount_points", f"at most {MOUNT_POINTS_MAX}", len(points))
    for point in points:
        if not point.bucket_name:
            raise Missing("oss_mount_config.mount_points.bucket_name")
        if not limits.BUCKET_NAME.match(point.bucket_name):
            raise Invalid(
                "oss_mount_config.mount_points.bucket_name", BUCKET_NAME_FORM, checks.shown(point.bucket_name)
            )
        checks.length("oss_mount_config.mount_points.bucket_path", point.bucket_path, BUCKET_PATH_CHARS)
        if "\0" in point.bucket_path or {".", ".."} & set(point.bucket_path.split("/")):
            raise Invalid(
                "oss_mount_config.mount_points.bucket_path",
                "a directory of the bucket, such as /data, without '.' and '..'",
                checks.shown(point.bucket_path),
            )


def check_every_mount_dir(buckets: OssMountConfig, nas: NasConfig) -> None:
    """Buckets and file systems may not be mounted in each other either."""
    if buckets.mount_points:
        directories = [point.mount_dir for point in buckets.mount_points]
        directories += [point.mount_dir for point in nas.mount_points]
        check_mount_dirs("oss_mount_config.mount_points.mount_dir", directories)


def check_role_of_mounts(config: OssMountConfig, role: str) -> None:
    if config.mount_points and not role:
        raise Missing("role", needed_by="oss_mount_config")


def check_can_mount(no_buckets: str, config: OssMountConfig) -> None:
    """`no_buckets` is why none can be mounted here, or ""."""
    if config.mount_points and no_buckets:
        names = ", ".join(sorted({point.bucket_name for point in config.mount_points}))
        raise Unusable(f"ossMountConfig mounts the bucket '{names}', and no bucket can be mounted here: {no_buckets}")


def check_mount_dirs(label: str, directories: list[str]) -> None:
    """Raises `Rejected` unless each can be a mount point and none is inside another."""
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
