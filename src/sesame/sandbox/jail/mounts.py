"""Creates detached mounts, which are sent to instances as descriptors: code, layers, /tmp, buckets.

Used by `jail.host_resources`, `jail.instance` and `jail.fuse_mounts`. Requires root, or `own_namespaces` for what an
ordinary user may mount. runtime/jail/steps.py attaches them.
"""

import ctypes
import os
import platform
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

# Linux 5.2 and 5.12 (mount_setattr); the numbers are the same on every architecture.
_SYS_OPEN_TREE, _SYS_FSOPEN, _SYS_FSCONFIG, _SYS_FSMOUNT, _SYS_MOUNT_SETATTR = 428, 430, 431, 432, 442
_AT_FDCWD, _AT_EMPTY_PATH = -100, 0x1000
_OPEN_TREE_CLONE, _OPEN_TREE_CLOEXEC = 1, os.O_CLOEXEC
_FSOPEN_CLOEXEC, _FSMOUNT_CLOEXEC = 1, 1
_FSCONFIG_SET_FLAG, _FSCONFIG_SET_STRING, _FSCONFIG_CMD_CREATE = 0, 1, 6
_MOUNT_ATTR_RDONLY, _MOUNT_ATTR_NOSUID, _MOUNT_ATTR_NODEV, _MOUNT_ATTR_IDMAP = 1, 2, 4, 0x100000
_MS_PRIVATE = 1 << 18
_CLONE_NEWNS, _CLONE_NEWUSER = 0x20000, 0x10000000
FUSE_DEVICE = "/dev/fuse"

_libc = ctypes.CDLL(None, use_errno=True)


class _MountAttributes(ctypes.Structure):
    _fields_ = (
        ("set", ctypes.c_uint64),
        ("clear", ctypes.c_uint64),
        ("propagation", ctypes.c_uint64),
        ("userns_fd", ctypes.c_uint64),
    )


def supported() -> bool:
    """Whether this machine runs Linux, and so has these system calls under these numbers."""
    return platform.system() == "Linux"


def tree(path: Path, *, read_only: bool = True, nosuid: bool = True) -> int:
    """A descriptor of a mount of the directory, which the caller closes. Raises `OSError`."""
    fd = _call(
        "open_tree", _SYS_OPEN_TREE,
        ctypes.c_int(_AT_FDCWD), os.fsencode(path), ctypes.c_uint(_OPEN_TREE_CLONE | _OPEN_TREE_CLOEXEC),
    )  # fmt: skip
    attributes = _MOUNT_ATTR_NODEV
    attributes |= _MOUNT_ATTR_RDONLY if read_only else 0
    attributes |= _MOUNT_ATTR_NOSUID if nosuid else 0
    return _with_attributes(fd, attributes)


def tree_of(directory: int, namespace: int, *, read_only: bool = False) -> int:
    """A mount of an open directory, with its owners mapped by the user namespace. The caller closes all three.

    Raises `OSError`, also if the file system does not support id mapping.
    """
    fd = _call(
        "open_tree", _SYS_OPEN_TREE, ctypes.c_int(directory), b"",
        ctypes.c_uint(_OPEN_TREE_CLONE | _OPEN_TREE_CLOEXEC | _AT_EMPTY_PATH),
    )  # fmt: skip
    attributes = _MOUNT_ATTR_NODEV | _MOUNT_ATTR_NOSUID | _MOUNT_ATTR_IDMAP
    return _with_attributes(fd, attributes | (_MOUNT_ATTR_RDONLY if read_only else 0), namespace)


def merged_tree(paths: Sequence[Path], *, read_only: bool = True) -> int:
    """A mount that shows several directories merged, the earlier one winning. The caller closes it.

    A merge of several directories is always read-only, because it has no upper layer.
    """
    if len(paths) == 1:
        return tree(paths[0], read_only=read_only)
    with ExitStack() as opened:
        # The kernel takes at most 255 bytes, fewer than some paths have: each directory is named by its descriptor.
        places = []
        for path in paths:
            directory = os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            opened.callback(os.close, directory)
            places.append(f"/proc/self/fd/{directory}")
        return _new_mount("overlay", {"source": "layers", "lowerdir": ":".join(places)}, _MOUNT_ATTR_RDONLY)


def block_mount(kind: str, device: str, *flags: str) -> int:
    """A descriptor of a freshly mounted block device, which the caller closes."""
    return _new_mount(kind, {"source": device}, 0, *flags)


def fuse(owner: tuple[int, int], *, read_only: bool) -> tuple[int, int]:
    """An open /dev/fuse, and the mount that is served through it, accessible only to this user and group.

    The caller closes both. Raises `OSError`.
    """
    device = os.open(FUSE_DEVICE, os.O_RDWR | os.O_CLOEXEC)
    user, group = map(str, owner)
    options = {"source": "bucket", "fd": str(device), "rootmode": "40000", "user_id": user, "group_id": group}
    try:
        return device, _new_mount("fuse", options, _MOUNT_ATTR_RDONLY if read_only else 0, "default_permissions")
    except BaseException:
        os.close(device)
        raise


def own_namespaces() -> None:
    """Moves this process, which must have a single thread, into new user and mount namespaces. Raises `OSError`."""
    if _libc.unshare(ctypes.c_int(_CLONE_NEWUSER | _CLONE_NEWNS)) != 0:
        error = ctypes.get_errno()
        raise OSError(error, f"unshare: {os.strerror(error)}")


def _new_mount(kind: str, options: dict[str, str], attributes: int, *flags: str) -> int:
    context = _call("fsopen", _SYS_FSOPEN, kind.encode(), ctypes.c_uint(_FSOPEN_CLOEXEC))
    try:
        for name, value in options.items():
            _configure(context, _FSCONFIG_SET_STRING, name, value)
        for flag in flags:
            _configure(context, _FSCONFIG_SET_FLAG, flag, None)
        _configure(context, _FSCONFIG_CMD_CREATE, None, None)
        return _call(
            "fsmount", _SYS_FSMOUNT, ctypes.c_int(context), ctypes.c_uint(_FSMOUNT_CLOEXEC),
            ctypes.c_uint(attributes | _MOUNT_ATTR_NOSUID | _MOUNT_ATTR_NODEV),
        )  # fmt: skip
    finally:
        os.close(context)


def _configure(context: int, command: int, name: str | None, value: str | None) -> None:
    _call(
        f"fsconfig {name}", _SYS_FSCONFIG, ctypes.c_int(context), ctypes.c_uint(command),
        None if name is None else name.encode(), None if value is None else os.fsencode(value), ctypes.c_int(0),
    )  # fmt: skip


def _with_attributes(fd: int, attributes: int, namespace: int = 0) -> int:
    """Sets the attributes of a mount and returns its descriptor, which is closed on failure."""
    wanted = _MountAttributes(attributes, 0, _MS_PRIVATE, namespace)
    try:
        _call(
            "mount_setattr", _SYS_MOUNT_SETATTR, ctypes.c_int(fd), b"", ctypes.c_uint(_AT_EMPTY_PATH),
            ctypes.byref(wanted), ctypes.c_size_t(ctypes.sizeof(wanted)),
        )  # fmt: skip
    except OSError:
        os.close(fd)
        raise
    return fd


def _call(name: str, number: int, *arguments: object) -> int:
    result = int(_libc.syscall(ctypes.c_long(number), *arguments))
    if result < 0:
        error = ctypes.get_errno()
        raise OSError(error, f"{name}: {os.strerror(error)}")
    return result
