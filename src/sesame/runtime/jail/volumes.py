"""Attaches volumes to an instance's file system, creating their mount points.

Called by steps.py in process 1, while it has its privileges and before any user code runs. sandbox/jail/volumes.py
makes the order.
"""

import os

import root
import linux

_FLAGS = linux.MS_NOSUID | linux.MS_NODEV
_OPEN = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
_SMALL = "mode=755,size=64k,nr_inodes=256"


def attach(volumes, fds):
    """`volumes` are (target, index of a mount in `fds` or -1, base on the host, parts of the path below it)."""
    tops = sorted(set("/" + target.split("/")[1] for target, _index, _base, _parts in volumes))
    missing = [top for top in tops if not os.path.isdir(top)]
    if missing:
        _add_to_root(missing)
    places = [top for top in tops if any(target != top for target, _i, _b, _p in volumes if _below(target, top))]
    for place in places:
        linux.mount("tmpfs", place, "tmpfs", _FLAGS | linux.MS_NOEXEC, _SMALL)
    for volume in volumes:
        if not os.path.isdir(volume[0]):
            os.makedirs(volume[0], 0o755)
        put(volume, fds)
    for place in places:
        linux.mount(None, place, None, linux.MS_REMOUNT | linux.MS_BIND | linux.MS_RDONLY | linux.MS_NOEXEC | _FLAGS)


def put(volume, fds, top=""):
    """Mounts a volume at its existing mount point; within the root `top`, if not this one."""
    target, index, base, parts = volume
    if index >= 0:
        linux.move_mount(fds[index], top + target)
        os.close(fds[index])
    else:
        _bind(base, parts, top + target)


def _below(target, top):
    return target == top or target.startswith(top + "/")


def _bind(base, parts, target):
    """Binds a directory of the host. Opens it part by part, so that links left by functions are not followed."""
    fd = os.open(root.HOST_ROOT + base, os.O_RDONLY | os.O_DIRECTORY)
    for part in parts:
        below = os.open("/proc/self/fd/%d/%s" % (fd, part), _OPEN)
        os.close(fd)
        fd = below
    root.bind("/proc/self/fd/%d" % fd, target, _FLAGS)
    os.close(fd)


def _add_to_root(paths):
    """Gives the instance its own root with these additional directories.

    The zygote's root is shared by all its instances, which would see directories created there.
    """
    new = "/mnt"
    entries = [name for name in os.listdir("/") if name != "mnt"]
    linux.mount("tmpfs", new, "tmpfs", linux.MS_NOSUID, "mode=755,size=1m")
    for name in entries:
        path, moved = "/" + name, new + "/" + name
        if os.path.islink(path):
            os.symlink(os.readlink(path), moved)
            continue
        os.mkdir(moved, 0o755)
        flags = linux.MS_MOVE if os.path.ismount(path) else linux.MS_BIND | linux.MS_REC
        linux.mount(path, moved, None, flags)
    os.mkdir(new + new, 0o755)
    for path in paths:
        os.mkdir(new + path, 0o755)
    root.enter(new)
    linux.mount(None, "/", None, linux.MS_REMOUNT | linux.MS_BIND | linux.MS_RDONLY | linux.MS_NOSUID)
