"""Gives an instance the root of a container image, and a layer of its own over it, in the place of the zygote's root.

Called by steps.py in process 1, while it has its privileges and before any user code runs. sandbox/jail/images.py made
the order. Never has the kernel follow a name of the image: links are read and followed within it alone, and whatever the
instance needs is made in its own layer, which lies over the image and is empty.
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
# As many as the kernel follows in one path, and as long as it takes a name and a path, with the NUL behind it.
_LINKS_MAX = 40
_NAME_BYTES, _PATH_BYTES = 255, 4096
_OPEN_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK
_OPEN_TO_ALL = ("/tmp", "/var/tmp")
_FILES = ("/etc/resolv.conf", "/var/sesame/certificates.pem")
_PASSWD, _PASSWD_BYTES = "/etc/passwd", 1024 * 1024
_FLAGS = linux.MS_NOSUID | linux.MS_NODEV


def assemble(image, fds, places, files):
    """On return the image's root is at NEW, with these directories, and files by (path, content).

    Returns where in the image each of the places really is, by its path.
    """
    lower = _attach(image, fds)
    for path in (_UPPER, _WORK):
        os.mkdir(path, 0o755)
    layer = _Layer(lower, takes_owners=not image["user_namespace"])
    there = {path: layer.make_directory(path) for path in _PLACES + tuple(places)}
    layer.make_directory(image["working_dir"], mounted=False)
    for path in _OPEN_TO_ALL:
        os.chmod(_UPPER + there[path], 0o1777)
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
    # Devices, read-only, with the place of /dev/shm.
    linux.mount("/dev", NEW + "/dev", None, linux.MS_BIND | linux.MS_REC)
    return there


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

    def place(self, path, mounted=False):
        """Where a directory is, once the image's links were followed; of one to be `mounted` on, those before it.

        Where links lead to each other or to names that are too long, the path itself.
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
        """Whether there can be a directory with these names, with a file in it."""
        longest = max(len(os.fsencode(each)) for each in (self._lower, _UPPER, NEW))
        names = [len(os.fsencode(part)) for part in parts]
        return max(names + [0]) <= _NAME_BYTES and longest + sum(names) + len(names) + _NAME_BYTES + 1 < _PATH_BYTES

    def _link(self, path):
        """What a link of the image leads to; None for all else, and where the layer has something in its place."""
        folder = None if os.path.lexists(_UPPER + path) else self._folder(os.path.dirname(path))
        try:
            return None if folder is None else os.readlink(folder + "/" + os.path.basename(path))
        except OSError as error:
            # EINVAL: it is no link.
            if error.errno not in (errno.EINVAL, errno.ENOENT, errno.ENAMETOOLONG):
                raise
            return None

    def _folder(self, path):
        """Where the image has this directory; None where there is none without following a link."""
        found = self._lower
        for part in _parts(path):
            found = found and _directory(found + "/" + part)
        return found

    def read(self, path):
        """The content of a small file of the image; b"" where there is none, None where it is anything else."""
        there = self.place(path)
        folder = self._folder(os.path.dirname(there))
        try:
            fd = -1 if folder is None else os.open(folder + "/" + os.path.basename(there), _OPEN_FILE)
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
        """Directories that the image has too keep its mode and owner; in the place of anything else it has, a new one.

        Returns the directory's `place`.
        """
        there = self.place(path, mounted)
        made, below = _UPPER, self._lower
        for part in _parts(there):
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
        return there

    def write(self, path, content):
        """A file with the owner of the directory that it is in."""
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
    """The path, if it is a directory and no link; else None."""
    try:
        return path if stat.S_ISDIR(os.lstat(path).st_mode) else None
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG):
            raise
        return None


def _own_files():
    """Files of the zygote's root that instances need, as far as they are there."""
    for path in _FILES:
        if os.path.exists(path):
            with open(path, "rb") as file:
                yield path, file.read()


def _with_user(users, uid, home):
    """The image's users, and the instance's own by the name that it has elsewhere too."""
    if users and not users.endswith(b"\n"):
        users += b"\n"
    line = "user%d:x:%d:%d::%s:/bin/sh\n" % (uid, uid, uid, home)
    return users + line.encode("utf-8")
