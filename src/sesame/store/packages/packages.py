"""Code packages by the SHA-256 of their archive: each is unpacked once, safely and durably, and leased to instances.

Called by `control` when code arrives, by the sandbox's launcher for directories, by the endpoints for archives. A
package that is refused leaves nothing behind; one that is leased is never removed.
"""

import asyncio
import hashlib
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Sequence
from pathlib import Path
from typing import Protocol, TypeVar
from weakref import WeakValueDictionary

import structlog
from fastcrc import crc64

from sesame.model.clocks import SYSTEM_CLOCKS
from sesame.model.errors import PlatformError
from sesame.model.function import Package
from sesame.store.packages.folder import PackageFolder
from sesame.store.quarantine import Quarantine

T = TypeVar("T")

# POLICY: how long a package may lie unreferenced before it is garbage; the record that names it may be on its way, and
# a call that resolved to it may wait for an instance.
COLLECT_GRACE_S = 15 * 60.0
UNPACKING_AT_ONCE = 2

# What archivers add by themselves.
_NOT_CODE = {"__MACOSX", ".DS_Store"}

log = structlog.get_logger(__name__)


class PackageMissing(PlatformError):
    """A package that the catalog names is gone from the disk, and its archive with it."""

    def __init__(self, sha256: str) -> None:
        super().__init__(
            f"The code package {sha256} is gone from the data directory, its archive too: deploy the function or layer "
            "again, or take a backup back with `sesame restore`; `sesame doctor --check` lists what is missing"
        )


class Archives(Protocol):
    """Where archives are kept besides the folder, so that the folder may be lost. `store.blobs.s3_archives` is one.

    Each method raises `StoreUnavailable` when the place does not answer.
    """

    async def has(self, sha256: str, size: int) -> bool: ...

    async def put(self, sha256: str, archive: bytes) -> None:
        """On return it is durable. What no record names a while later is collected, also after a crash."""

    async def get(self, sha256: str) -> bytes:
        """Raises `FileNotFoundError`."""

    async def delete(self, sha256: str) -> None: ...


class PackageLease:
    """Keeps packages on the disk until `release`. `code_dirs` and `compiled` are in the order asked for.

    The files of `compiled` exist only for what has been compiled for the runtime by now.
    """

    def __init__(self, packages: "Packages", sha256s: Sequence[str], runtime: str) -> None:
        self._packages: Packages | None = packages
        self._sha256s = sha256s
        folder = packages.folder
        self.code_dirs: tuple[Path, ...] = tuple(folder.code(sha256) for sha256 in sha256s)
        self.compiled: tuple[Path, ...] = tuple(folder.compiled(sha256, runtime) for sha256 in sha256s if runtime)

    def release(self) -> None:
        """The packages may be removed from here on; idempotent."""
        packages, self._packages = self._packages, None
        if packages is not None:
            packages.released(self._sha256s)


class Packages:
    """Belongs to one event loop."""

    def __init__(
        self,
        root: Path,
        wanted: Callable[[str, str], None] = lambda _sha256, _runtime: None,
        *,
        quarantine: Quarantine | None = None,
        clock: Callable[[], float] = SYSTEM_CLOCKS.monotonic,
        archives: Archives | None = None,
    ) -> None:
        """`wanted(sha256, runtime)` is told of packages that would start faster if they were compiled.

        With `archives`, the folder holds no more than copies of what is there.
        """
        self.folder = PackageFolder(root, quarantine or Quarantine(root.parent / "quarantine"))
        self._wanted = wanted
        self._clock = clock
        self._archives = archives
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._gate = asyncio.Semaphore(UNPACKING_AT_ONCE)
        self._leases: Counter[str] = Counter()
        # When `add` last gave a package out; and those it unpacked that the catalog has not been seen to name.
        self._touched_at: dict[str, float] = {}
        self._unnamed: set[str] = set()

    async def open(self) -> None:
        """Removes what a crash left unfinished, and mends what can be mended without the catalog."""
        await asyncio.to_thread(self.folder.open)

    async def reconcile(self, live: Collection[str], released: Collection[str]) -> int:
        """For the start, before anything is added: sets aside packages that the catalog neither names nor has released.

        Brings packages back that the catalog names and that were set aside earlier. Returns how many were set aside.
        """
        aside, back = await asyncio.to_thread(self.folder.reconcile, live, released)
        if aside or back:
            log.warning("code packages did not match the catalog", set_aside=aside, brought_back=back)
        return aside

    async def add(self, archive: bytes, runtime: str) -> Package:
        """Takes a zip in, or finds it again; on return it is on the disk, and compiled for `runtime` soon.

        Raises `Unusable` for what cannot be unpacked safely, saying what was found and what was expected.
        """
        package = await asyncio.to_thread(_describe, archive)
        sha256 = package.sha256
        async with self._lock(sha256):
            if not self.folder.is_whole(sha256):
                async with self._gate:
                    await to_the_end(asyncio.to_thread(self._add, archive, sha256))
                self._unnamed.add(sha256)
            if self._archives is not None and not await self._archives.has(sha256, package.size_bytes):
                await self._archives.put(sha256, archive)
            self._touched_at[sha256] = self._clock()
        self.want_compiled(sha256, runtime)
        return package

    def want_compiled(self, sha256: str, runtime: str) -> None:
        """Has a package compiled in the background, unless it is already."""
        if not self.folder.compiled(sha256, runtime).exists():
            self._wanted(sha256, runtime)

    async def lease(self, sha256s: Sequence[str], runtime: str = "") -> PackageLease:
        """Holds packages for an instance; unpacks again what has lost its directory. Raises `PackageMissing`."""
        self._leases.update(sha256s)
        try:
            for sha256 in sha256s:
                if not self.folder.code(sha256).is_dir():
                    await self._restore(sha256)
                if runtime:
                    self.want_compiled(sha256, runtime)
        except BaseException:
            self.released(sha256s)
            raise
        return PackageLease(self, sha256s, runtime)

    def is_leased(self, sha256: str) -> bool:
        return sha256 in self._leases

    def released(self, sha256s: Sequence[str]) -> None:
        """For `PackageLease` alone."""
        for sha256 in sha256s:
            self._leases[sha256] -= 1
            if not self._leases[sha256]:
                del self._leases[sha256]

    def code_dir(self, package: Package) -> Path:
        """The unpacked package. It is never written to."""
        return self.folder.code(package.sha256)

    def archive(self, package: Package) -> Path:
        """The zip, byte for byte as it was sent, where it is kept; `fetched_archive` where it may be gone."""
        return self.folder.archive(package.sha256)

    async def fetched_archive(self, package: Package) -> Path | None:
        """The zip, brought back if it can be; None when it is gone."""
        path = self.folder.archive(package.sha256)
        if not path.is_file() and self._archives is not None:
            try:
                (await self.lease([package.sha256])).release()
            except PackageMissing:
                return None
        return path if path.is_file() else None

    def compiled(self, package: Package, runtime: str) -> Path:
        """Where the compiled package is, once it is there (docs/architecture.md)."""
        return self.folder.compiled(package.sha256, runtime)

    def hint(self, package: Package, handler: str) -> str:
        """What to do when the handler's module lies in the one outer folder of the zip; "" when that is not so."""
        code = self.code_dir(package)
        module = handler.rpartition(".")[0]
        if not module or not code.is_dir():
            return ""
        top = [path for path in code.iterdir() if path.name not in _NOT_CODE]
        if len(top) != 1 or not top[0].is_dir():
            return ""
        outer = top[0]
        if _holds_module(code, module) or not _holds_module(outer, module):
            return ""
        return (
            f"module '{module}' of handler '{handler}' is not at the top of the code package but in its folder "
            f"'{outer.name}': zip the content of the folder instead of the folder itself"
        )

    def refused(self, live: Collection[str]) -> list[str]:
        """Packages that this run took in for records that were never written, as far as `live` says."""
        self._unnamed -= set(live)
        return sorted(self._unnamed)

    async def remove(self, sha256: str, *, fresh_too: bool = False) -> bool:
        """Removes a package that nothing names any more; False, at once, while it is leased or was added lately.

        With `fresh_too`, for a Sesame that stops, also one that was added lately.
        """
        async with self._lock(sha256):
            if self.is_leased(sha256) or (self._is_fresh(sha256) and not fresh_too):
                return False
            if self._archives is not None:
                await self._archives.delete(sha256)
            await to_the_end(asyncio.to_thread(self.folder.remove, sha256))
        self._touched_at.pop(sha256, None)
        self._unnamed.discard(sha256)
        return True

    def _add(self, archive: bytes, sha256: str) -> None:
        self.folder.publish(self.folder.stage(archive), sha256)

    async def _restore(self, sha256: str) -> None:
        async with self._lock(sha256), self._gate:
            if await to_the_end(asyncio.to_thread(self.folder.restore, sha256)):
                return
            archive = await self._fetch(sha256)
            if archive is None:
                raise PackageMissing(sha256)
            await to_the_end(asyncio.to_thread(self._add, archive, sha256))

    async def _fetch(self, sha256: str) -> bytes | None:
        """The archive from elsewhere, if it is there and what its name says."""
        if self._archives is None:
            return None
        try:
            archive = await self._archives.get(sha256)
        except FileNotFoundError:
            return None
        if await asyncio.to_thread(_sha256, archive) != sha256:
            log.error("the archive of a code package is damaged where it is kept", package=sha256)
            return None
        return archive

    def _is_fresh(self, sha256: str) -> bool:
        touched_at = self._touched_at.get(sha256)
        return touched_at is not None and self._clock() - touched_at < COLLECT_GRACE_S

    def _lock(self, sha256: str) -> asyncio.Lock:
        return self._locks.setdefault(sha256, asyncio.Lock())


def _sha256(archive: bytes) -> str:
    return hashlib.sha256(archive).hexdigest()


def _describe(archive: bytes) -> Package:
    return Package(
        sha256=_sha256(archive),
        checksum=str(crc64.xz(archive)),
        size_bytes=len(archive),
    )


async def to_the_end(step: Awaitable[T]) -> T:
    """Waits for a thread also when the caller is cancelled, so that the thread never works on what was cleaned up."""
    task = asyncio.ensure_future(step)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        if not task.cancelled() and (error := task.exception()) is not None:
            log.info("a step whose caller was cancelled has failed", error=str(error))
        raise


def _holds_module(folder: Path, module: str) -> bool:
    *parents, name = module.replace("/", ".").split(".")
    try:
        found = list(folder.joinpath(*parents).iterdir()) if name else []
    except (OSError, ValueError):
        return False  # no such folder, or no name that a file can have
    return any(path.name.startswith(f"{name}.") or (path.name == name and path.is_dir()) for path in found)
