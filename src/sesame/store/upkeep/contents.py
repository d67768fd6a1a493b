"""Reads and writes the bytes in a bucket or in a data directory's folders, on a thread without an event loop.

Used by checks, backups and restores.
"""

import asyncio
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Protocol, Self, TypeVar

import msgspec

from sesame.model.errors import ConfigurationError, StoreUnavailable
from sesame.store.blobs.bucket import Bucket
from sesame.store.blobs.location import parse_location
from sesame.store.blobs.segments import (
    DATA,
    PACKAGES,
    SEGMENT_BYTES,
    folder_of,
    folder_of_archive,
    segment_of,
    segments_in,
)
from sesame.store.logs.shared.objects import FOLDER, path_of
from sesame.store.upkeep.files import Summing, Sums, sums
from sesame.store.upkeep.inventory import DataPaths

T = TypeVar("T")


class Kept(msgspec.Struct, frozen=True):
    """A blob or an archive in a bucket. `modified_at` (Unix seconds) of its newest part."""

    size: int
    modified_at: float


class Contents(Protocol):
    """Both methods write the bytes to `target` and sum them; they raise `FileNotFoundError` for missing ones."""

    def blob(self, blob: str, length: int, target: BinaryIO) -> Sums:
        """At most `length` bytes."""

    def archive(self, sha256: str, target: BinaryIO) -> Sums: ...


@contextmanager
def contents_of(paths: DataPaths) -> Iterator[Contents]:
    """The bytes that belong to a data directory. Raises `ConfigurationError` if the store fails."""
    if paths.bucket is None:
        yield _Folders(paths)
        return
    with BucketContents(paths.bucket) as contents:
        yield contents


class _Folders:
    def __init__(self, paths: DataPaths) -> None:
        self._paths = paths

    def blob(self, blob: str, length: int, target: BinaryIO) -> Sums:
        return sums(blob_path(self._paths, blob), length, target)

    def archive(self, sha256: str, target: BinaryIO) -> Sums:
        return sums(self._paths.packages / sha256 / "archive.zip", None, target)


class BucketContents:
    """A context manager. Any failure of the store raises `ConfigurationError`."""

    def __init__(self, url: str) -> None:
        self._runner = asyncio.Runner()
        self._bucket = Bucket(parse_location(url))
        self.shown = self._bucket.shown

    def __enter__(self) -> Self:
        self._runner.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._runner.__exit__(kind, error, tb)
        if isinstance(error, StoreUnavailable):
            raise ConfigurationError(f"the objects cannot be reached: {error}; try again when they can") from error

    def blobs(self) -> dict[str, Kept]:
        return self._kept(DATA)

    def kept(self, blob: str) -> Kept | None:
        """Only this blob, for a second check."""
        return self._kept(folder_of(blob)).get(blob)

    def packages(self) -> dict[str, Kept]:
        return self._kept(PACKAGES)

    def log_segments(self) -> dict[str, Kept]:
        """By their digests."""
        return self._kept(FOLDER)

    def log_segment(self, digest: str) -> bytes | None:
        """None if it does not exist."""
        try:
            return self._run(self._bucket.get(path_of(digest))).data
        except FileNotFoundError:
            return None

    def blob(self, blob: str, length: int | None, target: BinaryIO | None = None) -> Sums:
        return self._sums(folder_of(blob), length, target)

    def archive(self, sha256: str, target: BinaryIO | None = None) -> Sums:
        return self._sums(folder_of_archive(sha256), None, target)

    def put_blob(self, blob: str, source: Path) -> None:
        self._put(folder_of(blob), source)

    def put_archive(self, sha256: str, source: Path) -> None:
        self._put(folder_of_archive(sha256), source)

    def require_empty(self) -> None:
        """Raises `ConfigurationError` if there is any object."""
        found = self._run(self._bucket.listing(""))
        if found:
            raise ConfigurationError(
                f"{self.shown} is not empty ({found[0].path} lies there): name an unused prefix with --objects"
            )

    def holds_something(self) -> bool:
        return self._run(self._bucket.holds(""))

    def clear(self) -> None:
        """Deletes everything, for a restore that began with `require_empty` and failed."""
        self._run(self._bucket.delete([each.path for each in self._run(self._bucket.listing(""))]))

    def _kept(self, folder: str) -> dict[str, Kept]:
        found: dict[str, Kept] = {}
        for each in self._run(self._bucket.listing(folder)):
            name = each.path.split("/")[1]
            before = found.get(name, Kept(0, 0.0))
            found[name] = Kept(before.size + each.size, max(before.modified_at, each.modified_at))
        return found

    def _sums(self, folder: str, length: int | None, target: BinaryIO | None) -> Sums:
        segments = self._run(segments_in(self._bucket, folder))
        if not segments:
            raise FileNotFoundError(f"{self.shown}/{folder}")
        summing = Summing(target)
        for segment in segments:
            wanted = segment.size if length is None else min(segment.size, length - summing.size)
            if wanted > 0:
                summing.add(self._run(self._bucket.get(segment.path, 0, wanted)).data)
        return summing.sums()

    def _put(self, folder: str, source: Path) -> None:
        with source.open("rb") as file:
            number = 0
            while (data := file.read(SEGMENT_BYTES)) or not number:
                self._run(self._bucket.put(segment_of(folder, number), data))
                number += 1

    def _run(self, request: Coroutine[Any, Any, T]) -> T:
        return self._runner.run(request)


def blob_path(paths: DataPaths, blob: str) -> Path:
    return paths.objects / "data" / blob[:2] / blob
