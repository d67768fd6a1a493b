"""Code packages by the SHA-256 of their archive: each is unpacked once, safely and durably, and leased to instances.

Called by `control` when code arrives, by the sandbox's launcher for directories, by the endpoints for archives. A
refused package leaves nothing behind; a leased one is never removed.
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

# POLICY: how long an unreferenced package is kept: the record that names it may be about to be written, and a call that
# resolved to it may wait for an instance.
COLLECT_GRACE_S = 15 * 60.0
UNPACKING_AT_ONCE = 2

# Entries that archivers add by themselves.
_NOT_CODE = {"__MACOSX", ".DS_Store"}

log = structlog.get_logger(__name__)


class PackageMissing(PlatformError):
    """A package that the catalog names is missing on the disk, together with its archive."""

    def __init__(self, sha256: str) -> None:
        super().__init__(
            f"The code package {sha256} is gone from the data directory, its archive too: deploy the function or layer "
            "again, or take a backup back with `sesame restore`; `sesame doctor --check` lists what is missing"
        )


class Archives(Protocol):
    """Stores archives outside the folder, which may then be lost. Implemented by `store.blobs.s3_archives`.

    Each method raises `StoreUnavailable` if the place does not answer.
    """

    async def has(self, sha256: str, size: int) -> bool: ...

    async def put(self, sha256: str, archive: bytes) -> None:
        """On return the archive is durable. If no record names it within a while, it is deleted, also after a crash."""

    async def get(self, sha256: str) -> bytes:
        """Raises `FileNotFoundError`."""

    async def delete(self, sha256: str) -> None: ...


class PackageLease:
    """Keeps packages on the disk until `release`. `code_dirs` and `compiled` are in the requested order.

    A file of `compiled` exists only if the package has been compiled for the runtime by now.
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
        """`wanted(sha256, runtime)` is called for packages that would start faster if they were compiled.

        With `archives`, the folder is only a cache.
        """
        self.folder = PackageFolder(root, quarantine or Quarantine(root.parent / "quarantine"))
        self._wanted = wanted
        self._clock = clock
        self._archives = archives
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._gate = asyncio.Semaphore(UNPACKING_AT_ONCE)
        self._leases: Counter[str] = Counter()
        # When `add` last returned each package; and the unpacked ones that no record is known to name yet.
        self._touched_at: dict[str, float] = {}
        self._unnamed: set[str] = set()

    async def open(self) -> None:
        """Removes what a crash left unfinished, and repairs what can be repaired without the catalog."""
        await asyncio.to_thread(self.folder.open)

    async def reconcile(self, live: Collection[str], released: Collection[str]) -> int:
        """Call at start, before `add`: quarantines packages that the catalog neither names nor has released.

        Brings back quarantined packages that the catalog names. Returns how many were quarantined.
        """
        aside, back = await asyncio.to_thread(self.folder.reconcile, live, released)
        if aside or back:
            log.warning("code packages did not match the catalog", set_aside=aside, brought_back=back)
        return aside

    async def add(self, archive: bytes, runtime: str) -> Package:
        """Stores a zip, or finds it again. On return it is on the disk, and will soon be compiled for `runtime`.

        Raises `Unusable` if it cannot be unpacked safely, saying what was found and what was expected.
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
        """Requests that a package be compiled in the background, unless it is already."""
        if not self.folder.compiled(sha256, runtime).exists():
            self._wanted(sha256, runtime)

    async def lease(self, sha256s: Sequence[str], runtime: str = "") -> PackageLease:
        """Holds packages for an instance; unpacks those again that lost their directory. Raises `PackageMissing`."""
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
        """Called only by `PackageLease`."""
        for sha256 in sha256s:
            self._leases[sha256] -= 1
            if not self._leases[sha256]:
                del self._leases[sha256]

    def code_dir(self, package: Package) -> Path:
        """The unpacked package, which is never modified."""
        return self.folder.code(package.sha256)

    def archive(self, package: Package) -> Path:
        """The zip exactly as it was sent; use `fetched_archive` if it may be missing."""
        return self.folder.archive(package.sha256)

    async def fetched_archive(self, package: Package) -> Path | None:
        """The zip, fetched if necessary; None if it is lost."""
        path = self.folder.archive(package.sha256)
        if not path.is_file() and self._archives is not None:
            try:
                (await self.lease([package.sha256])).release()
            except PackageMissing:
                return None
        return path if path.is_file() else None

    def compiled(self, package: Package, runtime: str) -> Path:
        """The path of the compiled package, which may not exist yet (docs/architecture.md)."""
        return self.folder.compiled(package.sha256, runtime)

    def hint(self, package: Package, handler: str) -> str:
        """A hint for when the handler's module is in the zip's single top-level folder; otherwise ""."""
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
        """Packages that this run stored for records that were never written, according to `live`."""
        self._unnamed -= set(live)
        return sorted(self._unnamed)

    async def remove(self, sha256: str, *, fresh_too: bool = False) -> bool:
        """Removes a package that nothing names. Returns False at once if it is leased or was added recently.

        With `fresh_too`, for a stopping Sesame, a recently added one is removed as well.
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
        """The archive from the other place, if it exists and matches its name."""
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
    """Waits for a thread even if the caller is cancelled, so that the thread never works on deleted files."""
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
