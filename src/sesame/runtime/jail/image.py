"""Gives an instance the root of a container image, and a layer of its own over it, in the place of the zygote's root.

Called by steps.py in process 1, while it has its privileges and before any user code runs. sandbox/jail/images.py made
the order. Never follows a name of the image: whatever the instance needs there is made in its own layer, which lies over
the image and is empty.
"""

import errno
import os
import stat

import root
import linux

# Where the new root is put together. The layer lies in the instance's own file system for /tmp, whose size bounds it.
NEW = "/mnt"
_LOWER, _UPPER, _WORK = "/run/image", "/tmp/root", "/tmp/work"
_PLACES = ("/proc", "/dev", "/sys", "/tmp", "/var/tmp")
_OPEN_TO_ALL = ("/tmp", "/var/tmp")
_FILES = ("/etc/resolv.conf", "/var/sesame/certificates.pem")
_PASSWD, _PASSWD_BYTES = "/etc/passwd", 1024 * 1024
_FLAGS = linux.MS_NOSUID | linux.MS_NODEV


def assemble(image, fds, places, files):
    """On return the image's root is at NEW, with these directories, and files by (path, content)."""
    lower = _attach(image, fds)
    for path in (_UPPER, _WORK):
        os.mkdir(path, 0o755)
    layer = _Layer(lower, takes_owners=not image["user_namespace"])
    for path in _PLACES + tuple(places) + (image["working_dir"],):
        layer.make_directory(path)
    for path in _OPEN_TO_ALL:
        os.chmod(_UPPER + path, 0o1777)
    for path, content in tuple(files) + tuple(_own_files()):
        layer.write(path, content)
    users = _read(lower, _PASSWD)
    if users is not None:
        layer.write(_PASSWD, _with_user(users, image["uid"], image["home"]))
    options = "lowerdir=%s,upperdir=%s,workdir=%s" % (linux.escaped(lower), _UPPER, _WORK)
    if image["user_namespace"]:
        options += ",userxattr"
    linux.mount("image", NEW, "overlay", _FLAGS, options)
    linux.mount("/proc", NEW + "/proc", None, linux.MS_MOVE)
    # Devices, read-only, with the place of /dev/shm.
    linux.mount("/dev", NEW + "/dev", None, linux.MS_BIND | linux.MS_REC)


def _attach(image, fds):
    """Where the image is: mounted from a descriptor or, in a user namespace, in the host's tree."""
    if image["mount"] < 0:
        return root.HOST_ROOT + image["path"]
    os.mkdir(_LOWER, 0o755)
    linux.move_mount(fds[image["mount"]], _LOWER)
    os.close(fds[image["mount"]])
    return _LOWER


class _Layer(object):
    """The instance's own layer, before it lies over the image."""

    def __init__(self, lower, takes_owners):
        self._lower = lower
        self._takes_owners = takes_owners
        self._take_after(lower, _UPPER)

    def make_directory(self, path):
        """Directories that the image has too keep its mode and owner; in the place of anything else it has, a new one."""
        made, below = _UPPER, self._lower
        for part in path.strip("/").split("/"):
            if not part:
                continue
            made += "/" + part
            below = below and _directory(below + "/" + part)
            try:
                os.mkdir(made, 0o755)
            except OSError as error:
                if error.errno != errno.EEXIST:
                    raise
                continue
            if below:
                self._take_after(below, made)

    def write(self, path, content):
        """A file with the owner of the directory that it is in."""
        folder = os.path.dirname(path)
        self.make_directory(folder)
        owner = os.lstat(_UPPER + folder)
        fd = os.open(_UPPER + path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
        if self._takes_owners:
            os.fchown(fd, owner.st_uid, owner.st_gid)
        with os.fdopen(fd, "wb") as file:
            file.write(content)

    def _take_after(self, below, made):
        status = os.lstat(below)
        if self._takes_owners:
            os.chown(made, status.st_uid, status.st_gid)
        os.chmod(made, stat.S_IMODE(status.st_mode) & 0o1777)


def _directory(path):
    """The path, if it is a directory and no link; else None."""
    try:
        return path if stat.S_ISDIR(os.lstat(path).st_mode) else None
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.ENOTDIR):
            raise
        return None


def _own_files():
    """Files of the zygote's root that instances need, as far as they are there."""
    for path in _FILES:
        if os.path.exists(path):
            with open(path, "rb") as file:
                yield path, file.read()


def _read(lower, path):
    """The content of a small file of the image; b"" where there is none, None where it is a link or anything else."""
    folder = _directory(lower + os.path.dirname(path))
    if folder is None:
        return b""
    try:
        fd = os.open(lower + path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        return b"" if error.errno == errno.ENOENT else None
    with os.fdopen(fd, "rb") as file:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            return None
        content = file.read(_PASSWD_BYTES + 1)
    return content if len(content) <= _PASSWD_BYTES else None


def _with_user(users, uid, home):
    """The image's users, and the instance's own by the name that it has elsewhere too."""
    if users and not users.endswith(b"\n"):
        users += b"\n"
    line = "user%d:x:%d:%d::%s:/bin/sh\n" % (uid, uid, uid, home)
    return users + line.encode("utf-8")
