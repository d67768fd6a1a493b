"""Code packages on a node without the writer: fetched by digest from the cluster's bucket, unpacked once per node.

A follower's launcher uses this instead of `agents.packages`. A lease of the writer keeps a package in the bucket, and
one of this node keeps it on the disk.
"""

import asyncio
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

import structlog

from sesame.agents.packages import LeasedPackages
from sesame.model.clocks import Clocks
from sesame.model.errors import PlatformError
from sesame.sandbox.launch import PackageLease
from sesame.store.packages.packages import COLLECT_GRACE_S, Archives, PackageMissing, Packages

log = structlog.get_logger("sesame.cluster")


class FetchedOnly:
    """`store.packages.Archives` for followers: only the writer adds archives to the bucket and removes them."""

    def __init__(self, archives: Archives) -> None:
        self._archives = archives

    async def has(self, sha256: str, size: int) -> bool:
        return await self._archives.has(sha256, size)

    async def put(self, sha256: str, archive: bytes) -> None:
        raise AssertionError("a follower takes no code packages in")

    async def get(self, sha256: str) -> bytes:
        return await self._archives.get(sha256)

    async def delete(self, sha256: str) -> None:
        """Does nothing: a follower removes only its unpacked copy."""


class _Lease:
    """A `sandbox.launch.PackageLease` that combines this node's lease and the writer's."""

    def __init__(self, own: PackageLease, writers: PackageLease) -> None:
        self.code_dirs: tuple[Path, ...] = own.code_dirs
        self.compiled: tuple[Path, ...] = own.compiled
        self._both = (own, writers)

    def release(self) -> None:
        for each in self._both:
            each.release()


class NodePackages:
    """Implements `sandbox.launch.Packages`."""

    def __init__(
        self, writers: LeasedPackages, own: Packages, writer_is_here: Callable[[], bool], clocks: Clocks
    ) -> None:
        """If the writer is on this node, the packages that it has unpacked are used; only the writer removes those."""
        self._writers = writers
        self._own = own
        self._writer_is_here = writer_is_here
        self._clocks = clocks
        # By package here that the catalog does not name: since when, by the monotonic clock.
        self._unnamed_at: dict[str, float] = {}

    async def lease(self, sha256s: Sequence[str], runtime: str) -> PackageLease:
        writers = await self._writers.lease(sha256s, runtime)
        if self._writer_is_here():
            return writers
        try:
            return _Lease(await self._own.lease(sha256s, runtime), writers)
        except PackageMissing as error:
            writers.release()
            raise PlatformError(
                f"a code package is not in the bucket of the cluster, or damaged there: {', '.join(sha256s)}; deploy "
                "the function or layer again, or start the node that has it with the same --objects"
            ) from error
        except BaseException:
            writers.release()
            raise

    async def collect(self, named: Collection[str]) -> int:
        """Removes packages not in `named` for COLLECT_GRACE_S that no instance uses. Returns how many."""
        here, now, removed = await asyncio.to_thread(self._own.folder.all), self._clocks.monotonic(), 0
        unnamed = {each: self._unnamed_at.get(each, now) for each in here if each not in named}
        self._unnamed_at = unnamed
        for sha256, since in list(unnamed.items()):
            if now - since >= COLLECT_GRACE_S:
                try:
                    removed += await self._own.remove(sha256)
                except OSError as error:
                    log.error("a code package cannot be removed; trying again later", package=sha256, error=str(error))
        return removed
