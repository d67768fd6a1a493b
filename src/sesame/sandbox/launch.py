"""What an instance is launched with: a runtime's interpreter, and the directories of its code packages.

`Launch` is handed to the drivers by `runtimes.lookup`. `PackagedLauncher` stands between the engine, which knows
packages by their hash, and a driver, which needs directories.
"""

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

import msgspec

from sesame.model.errors import SesameError
from sesame.model.nas import NasMount
from sesame.sandbox.interface import (
    InstanceSpec,
    OnDeath,
    OnOutput,
    Sandbox,
    SandboxDriver,
    SandboxSpec,
    SandboxStartFailed,
    StartFailure,
)
from sesame.sandbox.volumes import Volume, VolumeUnavailable

PYTHON_SHIM = "python"
SHIM_PLACE = "{shim}"


class Launch(msgspec.Struct, frozen=True):
    """How a runtime is run here. `notice` is printed before each call when another version stands in.

    `shim` is the directory below `runtime/` of what the interpreter runs. With `own_network` an instance has a network
    of its own wherever the driver can make one. Runtimes of one `family` are run in the same way. `shown` are
    directories that functions see besides those of the interpreter. `program` is the web server of a function that
    brings none; in it SHIM_PLACE stands for where instances see `runtime/`.
    """

    interpreter: Path
    site_packages: Path | None = None
    notice: str = ""
    shim: str = PYTHON_SHIM
    own_network: bool = False
    family: str = ""
    shown: tuple[Path, ...] = ()
    program: tuple[str, ...] = ()


# Takes a runtime's name. Raises `LookupError` that tells the caller which interpreter is missing and how to get it.
ResolveLaunch = Callable[[str], Launch]


class PackageLease(Protocol):
    """Keeps packages on the disk. `code_dirs` are their directories, in the order in which they were asked for.

    `compiled` are the archives of compiled sources that exist for the runtime, in the same order.
    """

    @property
    def code_dirs(self) -> tuple[Path, ...]: ...

    @property
    def compiled(self) -> tuple[Path, ...]: ...

    def release(self) -> None:
        """The packages may be removed from here on; idempotent."""


class Packages(Protocol):
    """Where code packages lie on this machine; implemented by the store."""

    async def lease(self, sha256s: Sequence[str], runtime: str) -> PackageLease:
        """Raises a `SesameError` for a package that is not here; its text says which and what to do."""


class Volumes(Protocol):
    """Where what is mounted lies on this machine; implemented by `volumes.NasVolumes`."""

    def provide(self, mount: NasMount) -> Volume:
        """Blocks. Raises `VolumeUnavailable`, whose text says what to do."""


class PackagedLauncher:
    """A `SandboxLauncher` on one driver. Leases an instance's packages until nothing of the instance is left."""

    def __init__(self, driver: SandboxDriver, packages: Packages, volumes: Volumes) -> None:
        self._driver = driver
        self._packages = packages
        self._volumes = volumes

    async def create(self, spec: InstanceSpec, on_output: OnOutput, on_death: OnDeath) -> Sandbox:
        try:
            lease = await self._packages.lease((spec.code, *spec.layers), spec.runtime)
        except SesameError as error:
            raise SandboxStartFailed(str(error), StartFailure.LOST) from error
        try:
            code_dir, *layer_dirs = lease.code_dirs
            sandbox = await self._driver.create(
                SandboxSpec(
                    instance_id=spec.instance_id,
                    runtime=spec.runtime,
                    code_dir=code_dir,
                    layer_dirs=tuple(layer_dirs),
                    environment=spec.environment,
                    memory_mb=spec.memory_mb,
                    disk_mb=spec.disk_mb,
                    setup=spec.setup,
                    compiled=lease.compiled,
                    volumes=tuple([await asyncio.to_thread(self._provided, mount) for mount in spec.nas]),
                    web_server=spec.web_server,
                ),
                on_output,
                on_death,
            )
        except BaseException:
            lease.release()
            raise
        sandbox.on_end(lease.release)
        return sandbox

    def _provided(self, mount: NasMount) -> Volume:
        try:
            return self._volumes.provide(mount)
        except VolumeUnavailable as error:
            raise SandboxStartFailed(str(error), StartFailure.REFUSED) from error
