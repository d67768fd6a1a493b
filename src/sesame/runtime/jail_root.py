"""Gives a zygote a root of its own that holds what its runtime needs, and becomes that zygote.

Executed by sandbox/jail_forker.py under the runtime's interpreter: `python -S jail_root.py CONTROL_FD`.
Never runs user code, never touches a mount that the host can see.

The plan arrives as the first message on the control socket: see sandbox/jail_plan.py.
"""

import errno
import json
import os
import sys

import linux

PLAN_BYTES = 256 * 1024
_READ_ONLY = linux.MS_RDONLY | linux.MS_NOSUID | linux.MS_NODEV


def main():
    control = int(sys.argv[1])
    plan = json.loads(linux.Packets(control, PLAN_BYTES).receive()[0].decode("utf-8"))
    linux.prctl(linux.PR_SET_PDEATHSIG, 9)
    if os.getppid() != plan["parent"]:
        os._exit(1)
    os.umask(0o022)
    if plan["user_namespace"]:
        _become_root_of_a_user_namespace()
    linux.unshare(linux.CLONE_NEWNS)
    # From here on nothing that is mounted or unmounted reaches the host.
    linux.mount(None, "/", None, linux.MS_REC | linux.MS_PRIVATE)
    root = plan["staging"]
    linux.mount("tmpfs", root, "tmpfs", linux.MS_NOSUID, "mode=755,size=4m")
    _furnish(root, plan)
    _move_in(root, keep_host=plan["user_namespace"])
    environment = {str(name): str(value) for name, value in plan["environment"].items()}
    argv = [str(argument) for argument in plan["argv"]] + [str(control)]
    if hasattr(os, "set_inheritable"):
        os.set_inheritable(control, True)
    os.execve(argv[0], argv, environment)


def _become_root_of_a_user_namespace():
    uid, gid = os.getuid(), os.getgid()
    linux.unshare(linux.CLONE_NEWUSER)
    _write("/proc/self/setgroups", "deny")
    _write("/proc/self/uid_map", "0 %d 1" % uid)
    _write("/proc/self/gid_map", "0 %d 1" % gid)


def _furnish(root, plan):
    for path in plan["directories"]:
        _make_directory(root + path)
    for path, target in plan["links"]:
        _make_directory(os.path.dirname(root + path))
        os.symlink(target, root + path)
    for path, text in plan["files"]:
        _make_directory(os.path.dirname(root + path))
        _write(root + path, text)
        os.chmod(root + path, 0o644)
    for source, path, writable in plan["binds"]:
        _bind(source, root + path, writable)


def _bind(source, target, writable):
    if os.path.isdir(source):
        _make_directory(target)
    else:
        _make_directory(os.path.dirname(target))
        os.close(os.open(target, os.O_CREAT | os.O_WRONLY, 0o644))
    # Devices and /proc are written to; they come one by one, so nothing else rides along.
    linux.bind(source, target, linux.MS_NOSUID if writable else _READ_ONLY)


def _move_in(root, keep_host):
    """Pivots. In a user namespace the old root stays at /.host, for the instances to bind from and to drop."""
    os.chdir(root)
    old = "/.host"
    os.mkdir(root + old, 0o700)
    linux.pivot_root(".", root + old)
    os.chdir("/")
    if not keep_host:
        linux.umount(old, linux.MNT_DETACH)
        os.rmdir(old)
    linux.mount(None, "/", None, linux.MS_REMOUNT | linux.MS_BIND | linux.MS_RDONLY | linux.MS_NOSUID)


def _make_directory(path):
    try:
        os.makedirs(path, 0o755)
    except OSError as error:
        if error.errno != errno.EEXIST:
            raise


def _write(path, text):
    fd = os.open(path, os.O_WRONLY | (0 if path.startswith("/proc/") else os.O_CREAT), 0o644)
    try:
        os.write(fd, text.encode("utf-8"))
    finally:
        os.close(fd)


if __name__ == "__main__":
    main()
