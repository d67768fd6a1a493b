"""The interface of a blob store, which keeps bytes under names that it chooses; they never change under a reader.

Implemented by `store.blobs.files` and `store.blobs.s3`; used by `store.objects`. A blob belongs to no object until a
row mentions it.
"""

from collections.abc import Awaitable, Callable, Collection, Sequence
from types import TracebackType
from typing import Protocol, Self

import msgspec

from sesame.model.object import Written


class ByteRange(msgspec.Struct, frozen=True):
    """`length` bytes of a blob from `start` on."""

    blob: str
    start: int
    length: int


class Swept(msgspec.Struct, frozen=True):
    """What a start found: blobs deleted, quarantined and brought back, and blobs of rows that have no bytes."""

    removed: int = 0
    set_aside: int = 0
    brought_back: int = 0
    missing: int = 0


class BlobNames(msgspec.Struct, frozen=True):
    """The database's view of blobs: those that rows mention, and those whose rows were deleted."""

    known: set[str]
    removed: set[str]


# Reads the database.
Names = Callable[[], Awaitable[BlobNames]]
# On return the store remembers that the blob may exist, until a row mentions it or it is deleted.
Announce = Callable[[str], Awaitable[None]]


class BlobUpload(Protocol):
    """One body being uploaded. As a context manager, it leaves nothing behind unless `finish` returned."""

    @property
    def size(self) -> int: ...

    async def __aenter__(self) -> Self: ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    async def write(self, chunk: bytes) -> None: ...

    async def finish(self) -> Written:
        """On return the bytes survive a power cut."""


class BlobReader(Protocol):
    """A blob as it was when it was opened, even if it is deleted meanwhile."""

    async def prepare(self) -> None:
        """Call before the first `read`. Raises `FileNotFoundError` for a blob that is gone."""

    def expect(self, start: int, length: int) -> None:
        """Announces that these bytes will be read in order, so that they can be fetched ahead."""

    async def read(self, start: int, length: int) -> bytes:
        """Up to `length` bytes from `start`; fewer at the end."""

    def close(self) -> None: ...


class BlobStore(Protocol):
    """Every method raises `OSError` for faults of the machine, `FileNotFoundError` for a blob that is gone.

    A store `elsewhere`, which is reached over a network, also raises `model.errors.StoreUnavailable`, after a
    limited time. Its blobs are announced before their first byte is stored, and deleted in the background.
    """

    @property
    def elsewhere(self) -> bool: ...

    async def open(self, names: Names, announce: Announce) -> Swept:
        """Call once, before anything else. Cleans up after a crash, as far as comparing with the database allows.

        A store elsewhere does not compare; instead it awaits `announce(blob)` before it stores the first byte of one.
        """

    async def close(self) -> None:
        """Waits for running operations."""

    def upload(self) -> BlobUpload: ...

    def open_reader(self, blob: str, size: int) -> BlobReader:
        """Opens the first `size` bytes of a blob. Blocks: call it on the thread that read the row. Close it."""

    async def compose(self, ranges: Sequence[ByteRange]) -> Written:
        """Makes a new blob from ranges of others, in order. Raises `EOFError` if a blob is shorter than its range."""

    async def copy(self, source: BlobReader, start: int, length: int) -> Written:
        """Makes a new blob from bytes of an open one."""

    async def extend(self, blob: str, size: int, crc64: int, addition: Written) -> int:
        """Appends the bytes of `addition` after the first `size` bytes of `blob`, whose CRC-64 is `crc64`.

        Returns the CRC-64 of the result. Readers of the first bytes are not disturbed. Anything after them (from an
        append without a row) is truncated.
        """

    async def delete(self, blobs: Collection[str]) -> Collection[str]:
        """Deletes blobs; a missing one counts as deleted.

        Returns those that remain because they are being read or still arrive: call again for these.
        """

    def claim(self, blob: str) -> None:
        """Notes that a row now mentions the blob."""

    def unclaimed(self, age_s: float) -> Collection[str]:
        """Blobs that this process finished at least `age_s` ago and that were not claimed.

        Empty for a store that announces its blobs, because the announcements record them.
        """

    async def collect(self, age_s: float) -> int:
        """Removes leftovers of uploads that have not grown for `age_s`; returns their number."""
