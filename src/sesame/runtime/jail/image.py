"""Replaces the zygote's root with that of a container image, with a writable layer over it.

Called by steps.py in process 1, while it has its privileges and before any user code runs. sandbox/jail/images.py
creates the order. Never lets the kernel resolve a path within the image: links are read and followed only inside it,
and whatever the instance needs is created in its own, initially empty, layer on top.
"""

import errno
import os
import stat

import root
import linux

# Where the new root is assembled. The layer lies in the instance's file system for /tmp, whose size limits it.
NEW = "/mnt"
_LOWER, _UPPER, _WORK = "/run/image", "/tmp/root", "/tmp/work"
_PLACES = ("/proc", "/dev", "/sys", "/tmp", "/var/tmp")
# The kernel's limits: links followed in one path, and the length of a name and of a path including its NUL.
_LINKS_MAX = 40
_NAME_BYTES, _PATH_BYTES = 255, 4096
_OPEN_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK
_OPEN_TO_ALL = ("/tmp", "/var/tmp")
_FILES = ("/etc/resolv.conf", "/var/sesame/certificates.pem")
_PASSWD, _PASSWD_BYTES = "/etc/passwd", 1024 * 1024
_FLAGS = linux.MS_NOSUID | linux.MS_NODEV


def assemble(image, fds, places, files):
    """On return the image's root is mounted at NEW, with these directories, and with files given as (path, content).

    Returns the real path within the image of each place, by its given path.
    """
    lower = _attach(image, fds)
    for path in (_UPPER, _WORK):
        os.mkdir(path, 0o755)
    layer = _Layer(lower, takes_owners=not image["user_namespace"])
    places_made = {path: layer.make_directory(path) for path in _PLACES + tuple(places)}
    layer.make_directory(image["working_dir"], mounted=False)
    for path in _OPEN_TO_ALL:
        os.chmod(_UPPER + places_made[path], 0o1777)
    for path, content in tuple(files) + tuple(_own_files()):
        layer.write(path, content)
    users = layer.read(_PASSWD)
    if users is not None:
        layer.write(_PASSWD, _with_user(users, image["uid"], image["home"]))
    options = "lowerdir=%s,upperdir=%s,workdir=%s" % (linux.escaped(lower), _UPPER, _WORK)
    if image["user_namespace"]:
        options += ",userxattr"
    linux.mount("image", NEW, "overlay", _FLAGS, options)
    linux.mount("/proc", NEW + "/proc", None, linux.MS_MOVE)
    # The read-only devices, with the mount point of /dev/shm.
    linux.mount("/dev", NEW + "/dev", None, linux.MS_BIND | linux.MS_REC)
    return places_made


def _attach(image, fds):
    """Returns the image's path: mounted from a descriptor or, in a user namespace, within the host's tree."""
    if image["mount"] < 0:
        return root.HOST_ROOT + image["path"]
    os.mkdir(_LOWER, 0o755)
    linux.move_mount(fds[image["mount"]], _LOWER)
    os.close(fds[image["mount"]])
    return _LOWER


class _Layer(object):
    """The instance's own layer, before it is mounted over the image."""

    def __init__(self, lower, takes_owners):
        self._lower = lower
        self._takes_owners = takes_owners
        self._take_after(lower, _UPPER)

    def place(self, path, mounted=False):
        """The real path of a directory after following the image's links, except the last one if it is to be `mounted`
        on.

        If links form a loop or lead to names that are too long, the path itself.
        """
        own = _parts(path)
        found, waiting, links = [], own[::-1], 0
        while waiting:
            part = waiting.pop()
            if part == "..":
                del found[-1:]
                continue
            found.append(part)
            target = None if mounted and not waiting else self._link("/" + "/".join(found))
            if target is None:
                continue
            links += 1
            if links > _LINKS_MAX:
                return "/" + "/".join(own)
            del found[0 if target.startswith("/") else -1 :]
            waiting += _parts(target)[::-1]
        return "/" + "/".join(found if self._can_be(found) else own)

    def _can_be(self, parts):
        """Whether a directory with these names, and a file in it, can exist within the kernel's limits."""
        longest = max(len(os.fsencode(each)) for each in (self._lower, _UPPER, NEW))
        names = [len(os.fsencode(part)) for part in parts]
        return max(names + [0]) <= _NAME_BYTES and longest + sum(names) + len(names) + _NAME_BYTES + 1 < _PATH_BYTES

    def _link(self, path):
        """The target of an image's link; None for anything else, or if the layer replaces it."""
        folder = None if os.path.lexists(_UPPER + path) else self._folder(os.path.dirname(path))
        try:
            return None if folder is None else os.readlink(folder + "/" + os.path.basename(path))
        except OSError as error:
            # EINVAL: it is not a link.
            if error.errno not in (errno.EINVAL, errno.ENOENT, errno.ENAMETOOLONG):
                raise
            return None

    def _folder(self, path):
        """The image's directory at this path; None if there is none, or only behind a link."""
        found = self._lower
        for part in _parts(path):
            found = found and _directory(found + "/" + part)
        return found

    def read(self, path):
        """The content of a small file in the image; b"" if it does not exist, None if it is anything else."""
        real_path = self.place(path)
        folder = self._folder(os.path.dirname(real_path))
        try:
            fd = -1 if folder is None else os.open(folder + "/" + os.path.basename(real_path), _OPEN_FILE)
        except OSError as error:
            return b"" if error.errno == errno.ENOENT else None
        if fd < 0:
            return b""
        with os.fdopen(fd, "rb") as file:
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                return None
            content = file.read(_PASSWD_BYTES + 1)
        return content if len(content) <= _PASSWD_BYTES else None

    def make_directory(self, path, mounted=True):
        """Creates directories in the layer.

        Those that the image has too keep its mode and owner; others replace its entry.

        Returns the directory's `place`.
        """
        real_path = self.place(path, mounted)
        path_in_layer, below = _UPPER, self._lower
        for part in _parts(real_path):
            path_in_layer += "/" + part
            below = below and _directory(below + "/" + part)
            try:
                os.mkdir(path_in_layer, 0o755)
            except OSError as error:
                if error.errno != errno.EEXIST:
                    raise
                continue
            if below:
                self._take_after(below, path_in_layer)
        return real_path

    def write(self, path, content):
        """Writes a file that is owned by the owner of its directory."""
        folder = _UPPER + self.make_directory(os.path.dirname(path), mounted=False)
        owner = os.lstat(folder)
        fd = os.open(folder + "/" + os.path.basename(path), os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
        if self._takes_owners:
            os.fchown(fd, owner.st_uid, owner.st_gid)
        with os.fdopen(fd, "wb") as file:
            file.write(content)

    def _take_after(self, below, made):
        status = os.lstat(below)
        if self._takes_owners:
            os.chown(made, status.st_uid, status.st_gid)
        os.chmod(made, stat.S_IMODE(status.st_mode) & 0o1777)


def _parts(path):
    return [part for part in path.split("/") if part not in ("", ".")]


def _directory(path):
    """The path, if it is a directory and not a link; else None."""
    try:
        return path if stat.S_ISDIR(os.lstat(path).st_mode) else None
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG):
            raise
        return None


def _own_files():
    """Files of the zygote's root that instances need, if they exist."""
    for path in _FILES:
        if os.path.exists(path):
            with open(path, "rb") as file:
                yield path, file.read()


def _with_user(users, uid, home):
    """The image's users, plus the instance's own with the name that it has elsewhere, too."""
    if users and not users.endswith(b"\n"):
        users += b"\n"
    line = "user%d:x:%d:%d::%s:/bin/sh\n" % (uid, uid, uid, home)
    return users + line.encode("utf-8")
