"""Creates /tmp for instances as sparse ext4 images: their size is enforced, and their pages do not count as memory.

Used by `jail.host_resources`, in threads; requires root.
"""

import fcntl
import os
import shutil
import stat
import struct
import subprocess
from pathlib import Path

from sesame.sandbox.jail import mounts as jail_mounts

BYTES_PER_INODE = 16 * 1024
# 1/60 is added for the file system's own needs, mostly inodes, so that the stated size is available.
OVERHEAD = 60

_LOOP_CTL_GET_FREE = 0x4C82
_LOOP_CONFIGURE = 0x4C0A
_LO_FLAGS_AUTOCLEAR, _LO_FLAGS_DIRECT_IO = 4, 16
_LOOP_MAJOR = 7
_BLOCK_BYTES = 4096
# struct loop_info64: device, inode, rdevice, offset, size limit, number, type, key size, flags, names, key, init.
_LOOP_INFO = struct.Struct("=5Q4I64s64s32s2Q")
_ATTEMPTS = 50


class Disks:
    """Empty file systems by size. `folder` holds one template per size; the images themselves have no names."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._templates: dict[int, int] = {}

    def open(self, size_mb: int) -> None:
        """Creates the template. Raises `OSError`, saying what is missing."""
        if size_mb not in self._templates:
            self._templates[size_mb] = self._template(size_mb)

    def close(self) -> None:
        for fd in self._templates.values():
            os.close(fd)
        self._templates.clear()

    def take(self, size_mb: int) -> int:
        """A descriptor of a mounted, empty file system, which the caller closes."""
        self.open(size_mb)
        image = self._copy(self._templates[size_mb])
        try:
            device = self._attach(image)
        finally:
            os.close(image)
        try:
            return jail_mounts.block_mount("ext4", f"/proc/self/fd/{device}", "discard", "noinit_itable")
        finally:
            # From now on the mount holds the device, which is detached with it.
            os.close(device)

    def _template(self, size_mb: int) -> int:
        maker = shutil.which("mkfs.ext4", path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin")
        if maker is None:
            raise FileNotFoundError("mkfs.ext4 was not found (Debian: apt install e2fsprogs)")
        path = self._folder / f"tmp-{size_mb}.ext4"
        self._folder.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        _run(
            maker, "-q", "-F", "-m", "0", "-b", str(_BLOCK_BYTES), "-i", str(BYTES_PER_INODE),
            "-O", "^has_journal,^resize_inode", "-E", "lazy_itable_init=1,nodiscard",
            str(path), f"{size_mb + size_mb // OVERHEAD}M",
        )  # fmt: skip
        # Empty, and writable for every user, like /tmp.
        _run(str(Path(maker).with_name("debugfs")), "-w", "-R", "set_inode_field / mode 041777", str(path))
        _run(str(Path(maker).with_name("debugfs")), "-w", "-R", "rmdir lost+found", str(path))
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        path.unlink()
        return fd

    def _copy(self, template: int) -> int:
        size = os.fstat(template).st_size
        image = os.open(self._folder, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            os.ftruncate(image, size)
            at = 0
            while at < size:
                try:
                    start = os.lseek(template, at, os.SEEK_DATA)
                except OSError:
                    # ENXIO: the rest is a hole.
                    break
                at = os.lseek(template, start, os.SEEK_HOLE)
                while start < at:
                    start += os.copy_file_range(template, image, at - start, start, start)
        except OSError:
            os.close(image)
            raise
        return image

    def _attach(self, image: int) -> int:
        """Attaches a free loop device and returns its descriptor; retries if another process takes it first."""
        control = os.open("/dev/loop-control", os.O_RDWR | os.O_CLOEXEC)
        try:
            for _ in range(_ATTEMPTS):
                device = self._device(fcntl.ioctl(control, _LOOP_CTL_GET_FREE))
                # Direct I/O, so that pages are not cached twice, for the image and for the file system in it.
                if _configured(device, image, _LO_FLAGS_AUTOCLEAR | _LO_FLAGS_DIRECT_IO):
                    return device
                if _configured(device, image, _LO_FLAGS_AUTOCLEAR):
                    return device
                os.close(device)
            raise OSError(f"no free loop device after {_ATTEMPTS} attempts")
        finally:
            os.close(control)

    def _device(self, number: int) -> int:
        try:
            return os.open(f"/dev/loop{number}", os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            # In a container no device manager creates the node of a new device.
            node = self._folder / f"loop{number}"
            os.mknod(node, 0o600 | stat.S_IFBLK, os.makedev(_LOOP_MAJOR, number))
            try:
                return os.open(node, os.O_RDWR | os.O_CLOEXEC)
            finally:
                node.unlink()


def _configured(device: int, image: int, flags: int) -> bool:
    info = _LOOP_INFO.pack(0, 0, 0, 0, 0, 0, 0, 0, flags, b"", b"", b"", 0, 0)
    try:
        fcntl.ioctl(device, _LOOP_CONFIGURE, struct.pack("=II", image, _BLOCK_BYTES) + info + bytes(64))
    except OSError:
        return False
    return True


def _run(*command: str) -> None:
    done = subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        check=False,
    )
    if done.returncode != 0:
        raise OSError(f"{command[0]}: {done.stdout.strip()}")
