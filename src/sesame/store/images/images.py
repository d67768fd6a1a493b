"""Container images by their digest: each is unpacked once into the data directory, and leased to instances.

Called by the sandbox's launcher for roots, and by `_storage` to remove images that no function names. A refused image
leaves nothing behind; a leased one is never removed. A removed image can be unpacked again from its source.
"""

import asyncio
import os
import re
import secrets
import shutil
from collections import Counter
from collections.abc import Callable, Collection
from pathlib import Path
from weakref import WeakValueDictionary

import structlog

from sesame.model.clocks import SYSTEM_CLOCKS
from sesame.model.container import ImageConfig, ImageUnavailable
from sesame.store.durable import make_folder, sync_folder
from sesame.store.images import config, layout
from sesame.store.images.layers import unpack
from sesame.store.images.places import ImagePlaces
from sesame.store.packages.packages import COLLECT_GRACE_S, to_the_end

UNPACKING_AT_ONCE = 1
_STAGING = "staging"
_DIGEST = re.compile(r"[0-9a-f]{64}\Z")

log = structlog.get_logger(__name__)


class ImageLease:
    """Keeps an image's root on the disk until `release`."""

    def __init__(self, root: Path, config: ImageConfig, release: Callable[[], None]) -> None:
        self.root = root
        self.config = config
        self._release: Callable[[], None] | None = release

    def release(self) -> None:
        release, self._release = self._release, None
        if release is not None:
            release()


class Images:
    """Belongs to one event loop. Nothing else uses `folder`."""

    def __init__(
        self,
        folder: Path,
        places: ImagePlaces,
        clock: Callable[[], float] = SYSTEM_CLOCKS.monotonic,
        shortage: Callable[[], str] = lambda: "",
    ) -> None:
        """`shortage` returns why nothing more may be written to the folder's disk, or ""."""
        self._folder = folder
        self._places = places
        self._clock = clock
        self._shortage = shortage
        self._leases: Counter[str] = Counter()
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._gate = asyncio.Semaphore(UNPACKING_AT_ONCE)
        # When each image was last leased.
        self._used_at: dict[str, float] = {}

    async def open(self) -> None:
        """Removes incomplete images that a crash left."""
        await asyncio.to_thread(self._remove_leftovers)

    async def lease(self, reference: str) -> ImageLease:
        """Raises `ImageUnavailable`, which says what was found and what to do."""
        try:
            found = await asyncio.to_thread(self._read, reference)
            if isinstance(found, layout.Bundle):
                of_bundle = await asyncio.to_thread(config.of_bundle, found.process, found.root, reference)
                return ImageLease(found.root, of_bundle, lambda: None)
            image, source = found
            self._leases[image.digest] += 1
            try:
                root = await self._unpacked(image, source, reference)
                of_image = await asyncio.to_thread(config.of_image, image.config, root, reference)
            except BaseException:
                self._released(image.digest)
                raise
        except OSError as error:
            log.error("an image cannot be read or unpacked", image=reference, error=str(error))
            raise ImageUnavailable(
                f"The image '{reference}' cannot be read or unpacked: {error.strerror}; the server's log says where"
            ) from error
        return ImageLease(root, of_image, lambda: self._released(image.digest))

    async def collect(self, references: Collection[str]) -> int:
        """Removes unpacked images to which none of the references leads any more; returns their number."""
        wanted = await asyncio.to_thread(self._digests, references)
        removed = 0
        for digest in await asyncio.to_thread(self._all):
            async with self._lock(digest):
                if digest in wanted or digest in self._leases or self._is_fresh(digest):
                    continue
                await to_the_end(asyncio.to_thread(self._remove, self._folder / digest))
                removed += 1
        # Images that could not be unpacked have no folder.
        for digest in [each for each in self._used_at if each not in self._leases and not self._is_fresh(each)]:
            del self._used_at[digest]
        return removed

    def _read(self, reference: str) -> "tuple[layout.Image, layout.Source] | layout.Bundle":
        return layout.read(self._places.find(reference), reference)

    async def _unpacked(self, image: layout.Image, source: layout.Source, reference: str) -> Path:
        root = self._folder / image.digest
        async with self._lock(image.digest):
            self._used_at[image.digest] = self._clock()
            if not root.is_dir():
                async with self._gate:
                    await to_the_end(asyncio.to_thread(self._unpack, image, source, root, reference))
        return root

    def _unpack(self, image: layout.Image, source: layout.Source, root: Path, reference: str) -> None:
        """Unpacks the image; `root` appears only once it is complete and survives a power cut."""
        staging = self._staging()
        # The folder becomes the root of instances, which run as other users.
        staging.mkdir(mode=0o755)
        try:
            unpack(image, source, staging, reference, self._shortage)
            # One sync for hundreds of thousands of files.
            os.sync()
        except BaseException:
            self._remove(staging)
            raise
        staging.rename(root)
        sync_folder(self._folder)
        log.info("unpacked an image", image=reference, digest=image.digest)

    def _digests(self, references: Collection[str]) -> set[str]:
        found = set()
        for reference in references:
            try:
                read = self._read(reference)
            except (ImageUnavailable, OSError):
                # The caller of the function gets the error.
                continue
            if not isinstance(read, layout.Bundle):
                found.add(read[0].digest)
        return found

    def _all(self) -> list[str]:
        if not self._folder.is_dir():
            return []
        return [path.name for path in self._folder.iterdir() if _DIGEST.match(path.name)]

    def _remove_leftovers(self) -> None:
        staging = self._folder / _STAGING
        for leftover in staging.iterdir() if staging.is_dir() else ():
            self._remove(leftover)

    def _remove(self, path: Path) -> None:
        """Renames the folder first and then deletes it: after a crash in between, the next start deletes the rest."""
        hidden = path
        if path.parent == self._folder:
            hidden = self._staging()
            path.rename(hidden)
        shutil.rmtree(hidden)

    def _staging(self) -> Path:
        make_folder(self._folder / _STAGING)
        return self._folder / _STAGING / secrets.token_hex(8)

    def _released(self, digest: str) -> None:
        self._used_at[digest] = self._clock()
        self._leases[digest] -= 1
        if not self._leases[digest]:
            del self._leases[digest]

    def _is_fresh(self, digest: str) -> bool:
        used_at = self._used_at.get(digest)
        return used_at is not None and self._clock() - used_at < COLLECT_GRACE_S

    def _lock(self, digest: str) -> asyncio.Lock:
        return self._locks.setdefault(digest, asyncio.Lock())
