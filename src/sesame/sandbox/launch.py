"""The parts of a launch: a runtime's interpreter, and the directories of the code packages and the image.

`runtimes.lookup` provides the drivers with a `Launch`. `PackagedLauncher` connects the engine, which refers to packages
by hash and to images by reference, to a driver, which needs directories.
"""

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

import msgspec

from sesame.model.container import PATH_DEFAULT, ContainerImage, ImageConfig, ImageUnavailable
from sesame.model.errors import SesameError, Unavailable
from sesame.model.nas import NasMount
from sesame.model.web_server import WebServer
from sesame.sandbox.interface import (
    ImageRoot,
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
MODULES_PLACE = "{modules}"


class Launch(msgspec.Struct, frozen=True):
    """How a runtime is run here. `notice` is printed before each call if another version of the interpreter stands in.

    `shim` is the subdirectory of `runtime/` that the interpreter runs. With `own_network` each instance has its own
    network wherever the driver supports that. Runtimes with the same `family` share a zygote. `shown` are directories
    visible to functions besides the interpreter's. `program` is the web server of functions without their own; in it,
    SHIM_PLACE stands for the path of `runtime/` inside the instance, and MODULES_PLACE for the search path of Node.js's
    packages: those of layers, then those in `site_packages`.
    """

    interpreter: Path
    site_packages: Path | None = None
    notice: str = ""
    shim: str = PYTHON_SHIM
    own_network: bool = False
    family: str = ""
    shown: tuple[Path, ...] = ()
    program: tuple[str, ...] = ()


# Takes a runtime's name. Raises `LookupError`, which says which interpreter is missing and how to get it.
ResolveLaunch = Callable[[str], Launch]


class PackageLease(Protocol):
    """Keeps packages on the disk. `code_dirs` are their directories, in the order requested.

    `compiled` are the archives of their sources compiled for the runtime, in the same order; files may be missing.
    """

    @property
    def code_dirs(self) -> tuple[Path, ...]: ...

    @property
    def compiled(self) -> tuple[Path, ...]: ...

    def release(self) -> None:
        """Allows the packages to be removed. Idempotent."""


class Packages(Protocol):
    """Provides code packages on this machine; implemented by the store."""

    async def lease(self, sha256s: Sequence[str], runtime: str) -> PackageLease:
        """Raises a `SesameError` for a package that is missing here, saying which one and what to do."""


class Volumes(Protocol):
    """Provides volumes on this machine; implemented by `volumes.NasVolumes`."""

    def provide(self, mount: NasMount) -> Volume:
        """Blocks. Raises `VolumeUnavailable`, which says what to do."""


class ImageLease(Protocol):
    """Keeps an image's unpacked root on the disk, and holds the image's configuration."""

    @property
    def root(self) -> Path: ...

    @property
    def config(self) -> ImageConfig: ...

    def release(self) -> None:
        """Allows the root to be removed. Idempotent."""


class Images(Protocol):
    """Provides container images on this machine; implemented by the store."""

    async def lease(self, reference: str) -> ImageLease:
        """Unpacks the image if necessary. Raises a `SesameError` for callers, saying what was found and what to do."""


class PackagedLauncher:
    """A `SandboxLauncher` on top of a driver. Leases packages and images until nothing of the instance is left."""

    def __init__(
        self, driver: SandboxDriver, packages: Packages, volumes: Volumes, images: Images | None = None
    ) -> None:
        self._driver = driver
        self._packages = packages
        self._volumes = volumes
        self._images = images

    async def create(self, spec: InstanceSpec, on_output: OnOutput, on_death: OnDeath) -> Sandbox:
        with contextlib.ExitStack() as unless_born:
            made = await self._spec(spec, unless_born)
            sandbox = await self._driver.create(made, on_output, on_death)
            sandbox.on_end(unless_born.pop_all().close)
        return sandbox

    async def _spec(self, spec: InstanceSpec, leases: contextlib.ExitStack) -> SandboxSpec:
        # Local code has no hash; only a function with an image can do without code.
        has_code = spec.image is None or bool(spec.code)
        named = (spec.code, *spec.layers) if has_code else spec.layers
        try:
            lease = await self._packages.lease(named, spec.runtime)
        except Unavailable:
            # The package exists, and will be reachable later.
            raise
        except SesameError as error:
            raise SandboxStartFailed(str(error), StartFailure.LOST) from error
        leases.callback(lease.release)
        made = SandboxSpec(
            instance_id=spec.instance_id,
            runtime=spec.runtime,
            code_dir=lease.code_dirs[0] if has_code else None,
            layer_dirs=lease.code_dirs[1 if has_code else 0 :],
            environment=spec.environment,
            memory_mb=spec.memory_mb,
            disk_mb=spec.disk_mb,
            setup=spec.setup,
            compiled=lease.compiled if has_code else (),
            volumes=tuple([await asyncio.to_thread(self._provided, mount) for mount in spec.nas]),
            buckets=spec.buckets,
            keys=spec.keys,
            web_server=spec.web_server,
            cpu=spec.cpu,
            internet=spec.internet,
        )
        return made if spec.image is None else await self._with_image(made, spec.image, leases)

    async def _with_image(self, spec: SandboxSpec, image: ContainerImage, leases: contextlib.ExitStack) -> SandboxSpec:
        try:
            if self._images is None:
                raise ImageUnavailable(f"The image '{image.reference}' cannot run here: deploy the function instead")
            lease = await self._images.lease(image.reference)
        except Unavailable:
            # As with packages.
            raise
        except SesameError as error:
            raise SandboxStartFailed(str(error), StartFailure.REFUSED) from error
        leases.callback(lease.release)
        return with_image(spec, image, lease.root, lease.config)

    def _provided(self, mount: NasMount) -> Volume:
        try:
            return self._volumes.provide(mount)
        except VolumeUnavailable as error:
            raise SandboxStartFailed(str(error), StartFailure.REFUSED) from error


def with_image(spec: SandboxSpec, image: ContainerImage, root: Path, config: ImageConfig) -> SandboxSpec:
    """Completes the spec with the image's configuration; the function's takes precedence.

    Raises `SandboxStartFailed`.
    """
    program = config.program(image)
    if not program:
        raise SandboxStartFailed(
            f"The image '{image.reference}' names no program (found: neither Entrypoint nor Cmd): set entrypoint or "
            "command in customContainerConfig",
            StartFailure.REFUSED,
        )
    environment = {"PATH": PATH_DEFAULT, "HOME": config.home, **config.environment, **spec.environment}
    return msgspec.structs.replace(
        spec,
        environment=environment,
        web_server=msgspec.structs.replace(spec.web_server or WebServer(), command=program),
        image=ImageRoot(
            name=image.reference,
            root=root,
            user_id=config.user_id,
            group_id=config.group_id,
            home=config.home,
            working_dir=config.working_dir,
        ),
    )
