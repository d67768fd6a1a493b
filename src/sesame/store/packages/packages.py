"""Code archives by their hash: each is unpacked once, safely and durably, and compiled for the runtimes that use it.

Called by `control` when code arrives, by the engine for the folder and by the doors for the archive.
Never shows a folder that is not complete, and leaves nothing behind of what it refuses.
"""

import asyncio
import hashlib
import secrets
import shutil
import time
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from weakref import WeakValueDictionary

import structlog
from fastcrc import crc64

from sesame.model.function import Package
from sesame.store.durable import make_folder, sync_folder, sync_tree, write_file
from sesame.store.packages.unpack import unpack

Compile = Callable[[str, Path], Awaitable[None]]

# POLICY: how long a package may lie unreferenced before it is garbage; the function that names it may be on its way.
COLLECT_GRACE_S = 15 * 60.0
UNPACKING_AT_ONCE = 2

_STAGING, _COMPILING = "staging", "compiling"
_CODE, _ARCHIVE, _COMPILED = "code", "archive.zip", "compiled"
# What archivers add by themselves.
_NOT_CODE = {"__MACOSX", ".DS_Store"}

log = structlog.get_logger(__name__)


class Packages:
    """`root/<sha256>/` holds the archive as sent, its `code/`, and a mark for each runtime it is compiled for."""

    def __init__(self, root: Path, compile: Compile, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._root = root
        self._compile = compile
        self._clock = clock
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._gate = asyncio.Semaphore(UNPACKING_AT_ONCE)
        self._touched_at: dict[str, float] = {}

    async def open(self) -> None:
        """Removes what a crash left unfinished, and compiles again what it left half compiled."""
        await asyncio.to_thread(self._sweep)
        for mark in sorted((self._root / _COMPILING).iterdir()):
            sha256, _, runtime = mark.name.partition(".")
            if self._folder(sha256).is_dir():
                await self._compile_in_place(sha256, runtime)
            mark.unlink(missing_ok=True)

    async def add(self, archive: bytes, runtime: str) -> Package:
        """Takes a zip in, or finds it again; on return it is on the disk and compiled for `runtime`.

        Raises `InvalidArgument` for what cannot be unpacked safely, saying what was found and what was expected.
        """
        package = await asyncio.to_thread(_describe, archive)
        async with self._lock(package.sha256):
            if not self._folder(package.sha256).is_dir():
                async with self._gate:
                    await self._unpack(package.sha256, archive, runtime)
            elif not self._compiled_mark(package.sha256, runtime).exists():
                await self._compile_in_place(package.sha256, runtime)
            self._touched_at[package.sha256] = self._clock()
        return package

    def code_dir(self, package: Package) -> Path:
        """The unpacked package; belongs to everyone, so nobody writes there."""
        return self._folder(package.sha256) / _CODE

    def archive(self, package: Package) -> Path:
        """The zip, byte for byte as it was sent."""
        return self._folder(package.sha256) / _ARCHIVE

    def hint(self, package: Package, handler: str) -> str:
        """What to do when the handler's module lies in the one outer folder of the zip; "" when that is not so."""
        code = self.code_dir(package)
        top = [path for path in code.iterdir() if path.name not in _NOT_CODE]
        module = handler.rpartition(".")[0]
        if len(top) != 1 or not top[0].is_dir() or not module:
            return ""
        outer = top[0]
        if _holds_module(code, module) or not _holds_module(outer, module):
            return ""
        return (
            f"module '{module}' of handler '{handler}' is not at the top of the code package but in its folder "
            f"'{outer.name}': zip the content of the folder instead of the folder itself"
        )

    async def collect(self, live: Iterable[str]) -> int:
        """Removes every package whose sha256 is not in `live` and that nobody added lately; returns how many.

        `live` must name what the catalog refers to and what running instances still use.
        """
        keep = set(live)
        self._touched_at = {sha256: at for sha256, at in self._touched_at.items() if self._is_fresh(sha256)}
        removed = 0
        for sha256 in await asyncio.to_thread(self._all):
            if sha256 in keep or self._is_fresh(sha256):
                continue
            async with self._lock(sha256):
                if not self._is_fresh(sha256):
                    await _to_the_end(asyncio.to_thread(self._remove, sha256))
                    removed += 1
        return removed

    async def _unpack(self, sha256: str, archive: bytes, runtime: str) -> None:
        staging = self._root / _STAGING / secrets.token_hex(8)
        try:
            await _to_the_end(asyncio.to_thread(_stage, staging, archive))
            await self._compile(runtime, staging / _CODE)
            await _to_the_end(asyncio.to_thread(self._publish, staging, sha256, runtime))
        finally:
            await _to_the_end(asyncio.to_thread(shutil.rmtree, staging, ignore_errors=True))

    def _publish(self, staging: Path, sha256: str, runtime: str) -> None:
        (staging / _COMPILED / runtime).touch()
        sync_tree(staging)
        staging.rename(self._folder(sha256))
        sync_folder(self._root)

    async def _compile_in_place(self, sha256: str, runtime: str) -> None:
        """Compiled files are whole only once they are synced: the mark tells the next start if that did not happen."""
        mark = self._root / _COMPILING / f"{sha256}.{runtime}"
        mark.touch()
        await asyncio.to_thread(sync_folder, mark.parent)
        await self._compile(runtime, self._folder(sha256) / _CODE)
        self._compiled_mark(sha256, runtime).touch()
        await asyncio.to_thread(sync_tree, self._folder(sha256))
        mark.unlink()

    def _sweep(self) -> None:
        make_folder(self._root / _STAGING)
        make_folder(self._root / _COMPILING)
        for leftover in (self._root / _STAGING).iterdir():
            log.info("removing an unfinished package", folder=leftover.name)
            shutil.rmtree(leftover)

    def _remove(self, sha256: str) -> None:
        """First out of sight as a whole, then away: a crash in between leaves it to the next sweep."""
        grave = self._root / _STAGING / secrets.token_hex(8)
        self._folder(sha256).rename(grave)
        shutil.rmtree(grave)

    def _all(self) -> list[str]:
        return [path.name for path in self._root.iterdir() if path.name not in (_STAGING, _COMPILING)]

    def _is_fresh(self, sha256: str) -> bool:
        touched_at = self._touched_at.get(sha256)
        return touched_at is not None and self._clock() - touched_at < COLLECT_GRACE_S

    def _folder(self, sha256: str) -> Path:
        return self._root / sha256

    def _compiled_mark(self, sha256: str, runtime: str) -> Path:
        return self._folder(sha256) / _COMPILED / runtime

    def _lock(self, sha256: str) -> asyncio.Lock:
        return self._locks.setdefault(sha256, asyncio.Lock())


def _describe(archive: bytes) -> Package:
    return Package(
        sha256=hashlib.sha256(archive).hexdigest(),
        checksum=str(crc64.xz(archive)),
        size_bytes=len(archive),
    )


def _stage(staging: Path, archive: bytes) -> None:
    staging.mkdir()
    for folder in (_CODE, _COMPILED):
        (staging / folder).mkdir()
    unpack(archive, staging / _CODE)
    write_file(staging / _ARCHIVE, archive)


async def _to_the_end(step: Awaitable[None]) -> None:
    """A thread cannot be cancelled: waits for it even when the caller gave up, so that nothing goes under its feet."""
    task = asyncio.ensure_future(step)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        if not task.cancelled() and (error := task.exception()) is not None:
            log.info("a step that nobody waits for failed", error=str(error))
        raise


def _holds_module(folder: Path, module: str) -> bool:
    *parents, name = module.replace("/", ".").split(".")
    try:
        found = list(folder.joinpath(*parents).iterdir()) if name else []
    except (OSError, ValueError):
        return False  # no such folder, or no name that a file can have
    return any(path.name.startswith(f"{name}.") or (path.name == name and path.is_dir()) for path in found)
