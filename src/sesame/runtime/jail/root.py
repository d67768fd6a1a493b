"""Builds a root file system that contains only what a runtime needs, enters it and becomes the runtime's zygote.

Executed by sandbox/jail/zygote_client.py under the runtime's interpreter: `python -S root.py CONTROL_FD`.
Runs no user code and changes no mount that is visible to the host.

The plan is the first message on the control socket: see sandbox/jail/plan.py.
"""

import errno
import json
import os
import stat
import sys

import linux

PLAN_BYTES = 256 * 1024
READ_ONLY = linux.MS_RDONLY | linux.MS_NOSUID | linux.MS_NODEV
HOST_ROOT = "/.host"
# A mount's flags, as statvfs and mount(2) number them.
_STATVFS_FLAGS = ((1, 1), (2, 2), (4, 4), (8, 8), (1024, 1024), (2048, 2048), (4096, 1 << 21))


def main():
    control = int(sys.argv[1])
    plan = json.loads(linux.Packets(control, PLAN_BYTES).receive()[0].decode("utf-8"))
    linux.prctl(linux.PR_SET_PDEATHSIG, 9)
    if os.getppid() != plan["parent"]:
        os._exit(1)
    os.umask(0o022)
    if plan["user_namespace"]:
        become_root_of_a_user_namespace()
    linux.unshare(linux.CLONE_NEWNS)
    # From now on mounting and unmounting here does not affect the host.
    linux.mount(None, "/", None, linux.MS_REC | linux.MS_PRIVATE)
    root = plan["staging"]
    linux.mount("tmpfs", root, "tmpfs", linux.MS_NOSUID, "mode=755,size=4m")
    _populate(root, plan)
    _move_in(root, keep_host=plan["keep_host"])
    environment = {str(name): str(value) for name, value in plan["environment"].items()}
    argv = [str(argument) for argument in plan["argv"]] + [str(control)]
    if hasattr(os, "set_inheritable"):
        os.set_inheritable(control, True)
    os.execve(argv[0], argv, environment)


def become_root_of_a_user_namespace():
    """Becomes root in a new user namespace; outside of it, the process remains the same ordinary user."""
    _enter_user_namespace(0, os.getuid(), os.getgid())


def become_user_of_a_user_namespace(uid):
    """Changes from root of one user namespace to an ordinary user of a nested one."""
    _enter_user_namespace(uid, os.getuid(), os.getgid())


def _enter_user_namespace(inside, uid, gid):
    linux.unshare(linux.CLONE_NEWUSER)
    linux.write_control("/proc/self/setgroups", "deny")
    linux.write_control("/proc/self/uid_map", "%d %d 1" % (inside, uid))
    linux.write_control("/proc/self/gid_map", "%d %d 1" % (inside, gid))


def _populate(root, plan):
    for path in plan["directories"]:
        _make_directory(root + path)
    for path, target in plan["links"]:
        _make_directory(os.path.dirname(root + path))
        os.symlink(target, root + path)
    for path, text in plan["files"]:
        _write_file(root + path, text.encode("utf-8"))
    for path, target in plan["copies"]:
        with open(path, "rb") as source:
            _write_file(root + target, source.read())
    for path in plan["devices"]:
        _make_device(path, root + path)
    for source, path, writable in plan["binds"]:
        bind(source, root + path, linux.MS_NOSUID if writable else READ_ONLY)


def _make_device(source, target):
    """Creates a device node or, if that is not permitted, a bind mount, although each mount slows down every start."""
    _make_directory(os.path.dirname(target))
    try:
        os.mknod(target, 0o666 | stat.S_IFCHR, os.stat(source).st_rdev)
        os.chmod(target, 0o666)
    except OSError as error:
        if error.errno != errno.EPERM:
            raise
        bind(source, target, linux.MS_NOSUID)


def bind(source, target, flags):
    """Bind mounts `source` at `target`, created if missing, with `flags` in addition to those of the source's mount."""
    if os.path.isdir(source):
        _make_directory(target)
    elif not os.path.exists(target):
        _write_file(target, b"")
    # Recursively, because a user namespace must not reveal what a mount of the host hides.
    linux.mount(source, target, None, linux.MS_BIND | linux.MS_REC)
    present = os.statvfs(target).f_flag
    for bit, flag in _STATVFS_FLAGS:
        if present & bit:
            flags |= flag
    linux.mount(None, target, None, linux.MS_BIND | linux.MS_REMOUNT | flags)


def _move_in(root, keep_host):
    """Pivots. In a user namespace the old root is kept for the instances, which bind from it and then drop it."""
    os.chdir(root)
    old = HOST_ROOT
    os.mkdir(root + old, 0o755)
    linux.pivot_root(".", root + old)
    os.chdir("/")
    if not keep_host:
        linux.umount(old, linux.MNT_DETACH)
        os.rmdir(old)
    linux.mount(None, "/", None, linux.MS_REMOUNT | linux.MS_BIND | linux.MS_RDONLY | linux.MS_NOSUID)


def enter(new):
    """Moves all processes of the instance to another root, mounted at `new`. The former root is detached."""
    os.chdir(new)
    linux.pivot_root(".", ".")
    # The former root is now mounted over the new one.
    linux.umount(".", linux.MNT_DETACH)
    os.chdir("/")


def _make_directory(path):
    try:
        os.makedirs(path, 0o755)
    except OSError as error:
        if error.errno != errno.EEXIST:
            raise


def _write_file(path, data):
    _make_directory(os.path.dirname(path))
    with open(path, "wb") as file:
        file.write(data)
    os.chmod(path, 0o644)


if __name__ == "__main__":
    main()
