"""Volumes: directories of this machine that are shared by instances and outlive them.

`NasVolumes` has one for each server address and path of a NAS; `sandbox.launch` looks them up, and the drivers show
them to functions. Since functions can write below a volume, no path there is resolved by name: symbolic links left by a
function are not followed.
"""

import contextlib
import itertools
import os
from collections.abc import Mapping
from pathlib import Path

import msgspec

from sesame.model.errors import ConfigurationError, SesameError
from sesame.model.nas import SERVER_ADDRESS_FORM, NasAddress, NasMount, parse_server_address
from sesame.sandbox.disk_reserve import DiskReserve

# The owner of files if the configuration leaves it to the platform (reference/runtime.md §11).
DEFAULT_ID = 10_003
# As in the cloud, every function that mounts a directory may write to it.
_SHARED_MODE = 0o777
_OPEN = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class VolumeUnavailable(SesameError):
    """The message states which directory cannot be mounted, why, and what to do. It has no path of this machine."""


class Volume(msgspec.Struct, frozen=True):
    """The directory `parts` below `base`, shown at `target`. Functions cannot write to `base` or above it.

    Files that the function writes belong to `user_id` and `group_id` on the disk, if the driver supports that.
    `name` appears in messages.
    """

    name: str
    base: Path
    parts: tuple[str, ...]
    target: str
    user_id: int
    group_id: int

    def open(self) -> int:
        """A descriptor of the directory, which the caller closes. Raises `VolumeUnavailable`."""
        return _opened(self, make=False)

    def shortage(self, reserve_mb: int | None = None) -> str:
        """Why nothing more may be written there; "" while its disk has room."""
        try:
            return DiskReserve(self.base, reserve_mb, of=f"'{self.name}'").shortage()
        except OSError:
            # A directory that cannot be examined cannot be written to either; opening it reports the error.
            return ""

    def make(self) -> None:
        """Creates the missing parts of the directory. Raises `VolumeUnavailable`."""
        os.close(_opened(self, make=True))


class NasVolumes:
    """A directory below `root` for each server, created on first use, unless `named` has the server or the path.

    Without a `root`, on one of several machines, only the `named` ones exist.
    """

    def __init__(self, root: Path | None, named: Mapping[str, Path], *, reserve_mb: int | None = None) -> None:
        """Raises `ConfigurationError` for a name that is not an address, or a directory that does not exist."""
        self._root = root
        self._reserve_mb = reserve_mb
        self._named: dict[NasAddress, Path] = {}
        for name, directory in named.items():
            address = parse_server_address(name)
            if address is None:
                raise ConfigurationError(f"mounts has '{name}'; expected {SERVER_ADDRESS_FORM}, or a server alone")
            if not directory.is_dir():
                raise ConfigurationError(
                    f"mounts has '{name}' = '{directory}', which is no directory; make it, or name another"
                )
            self._named[address] = directory.resolve()
        for inner, outer in itertools.permutations(self._named.values(), 2):
            if inner != outer and inner.is_relative_to(outer):
                raise ConfigurationError(
                    f"mounts has the directory '{inner}', which is in '{outer}', where a function could put a link in "
                    "its place; expected directories of which none is in another"
                )

    def provide(self, mount: NasMount) -> Volume:
        """Returns the directory to mount, creating it if necessary. Blocks. Raises `VolumeUnavailable`."""
        try:
            return self._provided(mount)
        except OSError as error:
            raise VolumeUnavailable(
                f"'{mount.server_addr}' cannot be mounted at {mount.mount_dir}: {error.strerror}; its directory may "
                "have been removed since Sesame started: make it anew"
            ) from error

    def _provided(self, mount: NasMount) -> Volume:
        address = parse_server_address(mount.server_addr)
        if address is None:
            raise VolumeUnavailable(
                f"nasConfig names the server '{mount.server_addr}'; expected {SERVER_ADDRESS_FORM}: update the service"
            )
        user_id, group_id = (DEFAULT_ID if each < 0 else each for each in (mount.user_id, mount.group_id))
        named = self._nearest(address)
        if named is None and self._root is None:
            raise VolumeUnavailable(
                f"'{mount.server_addr}' cannot be mounted at {mount.mount_dir}: the nodes of this cluster have no "
                "directory of it in common; name one on a file system that they share, in `mounts` of every node"
            )
        if named is None:
            assert self._root is not None
            self._root.mkdir(mode=0o700, parents=True, exist_ok=True)
            base, parts = self._root.resolve(), (address.server, *address.parts)
        else:
            base, parts = self._named[named], address.parts[len(named.parts) :]
            # Other users of this machine may see this directory, so it must not receive root-owned, possibly setuid,
            # programs.
            owner = base.stat()
            user_id = user_id or owner.st_uid or DEFAULT_ID
            group_id = group_id or owner.st_gid or DEFAULT_ID
        volume = Volume(mount.server_addr, base, parts, mount.mount_dir, user_id, group_id)
        if shortage := volume.shortage(self._reserve_mb):
            raise VolumeUnavailable(f"'{volume.name}' cannot be mounted at {volume.target}: {shortage}")
        volume.make()
        return volume

    def _nearest(self, address: NasAddress) -> NasAddress | None:
        """The longest configured prefix of the address."""
        for length in range(len(address.parts), -1, -1):
            name = NasAddress(address.server, address.parts[:length])
            if name in self._named:
                return name
        return None


def _opened(volume: Volume, *, make: bool) -> int:
    """Opens the path part by part through descriptors, so that a function can never redirect it outside."""
    try:
        fd = os.open(volume.base, _OPEN & ~os.O_NOFOLLOW)
        for part in volume.parts:
            try:
                if make:
                    _make(part, fd, volume)
                below = os.open(part, _OPEN, dir_fd=fd)
            finally:
                os.close(fd)
            fd = below
    except OSError as error:
        raise VolumeUnavailable(
            f"'{volume.name}' cannot be mounted at {volume.target}: {error.strerror}; a part of its path may be a file "
            "or a link, which is not followed"
        ) from error
    return fd


def _make(part: str, parent: int, volume: Volume) -> None:
    with contextlib.suppress(FileExistsError):
        os.mkdir(part, 0o700, dir_fd=parent)
        fd = os.open(part, _OPEN, dir_fd=parent)
        try:
            if os.geteuid() == 0:
                os.fchown(fd, volume.user_id, volume.group_id)
            os.fchmod(fd, _SHARED_MODE)
        finally:
            os.close(fd)
