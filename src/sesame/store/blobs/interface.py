"""The interface of a blob store: it keeps bytes under names of its own, and they never change under a reader.

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
    """What a start found: blobs deleted, set aside, brought back, and blobs of rows that have no bytes."""

    removed: int = 0
    set_aside: int = 0
    brought_back: int = 0
    missing: int = 0


class BlobNames(msgspec.Struct, frozen=True):
    """What the database says of blobs: those that rows mention, and those whose rows were deleted."""

    known: set[str]
    removed: set[str]


# Reads the database.
Names = Callable[[], Awaitable[BlobNames]]
# On its return it is remembered that the blob may exist, until a row mentions it or it is deleted.
Announce = Callable[[str], Awaitable[None]]


class BlobUpload(Protocol):
    """One body on its way in. As a context, it leaves nothing behind unless `finish` returned."""

    @property
    def size(self) -> int: ...

    async def __aenter__(self) -> Self: ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    async def write(self, chunk: bytes) -> None: ...

    async def finish(self) -> Written:
        """From its return on, the bytes survive a loss of power."""


class BlobReader(Protocol):
    """A blob as it was when it was opened, even if it is deleted meanwhile."""

    async def prepare(self) -> None:
        """Before the first `read`: raises `FileNotFoundError` for a blob that is gone."""

    def expect(self, start: int, length: int) -> None:
        """Says that these bytes will be read in order, so that they can be fetched ahead."""

    async def read(self, start: int, length: int) -> bytes:
        """Up to `length` bytes from `start`; fewer at the end."""

    def close(self) -> None: ...


class BlobStore(Protocol):
    """Every method raises `OSError` for faults of the machine, `FileNotFoundError` for a blob that is gone.

    One that is `elsewhere`, which is reached over a network, also raises `model.errors.StoreUnavailable`, after a
    bounded time. Its blobs are announced before their first byte is kept, and deleted behind callers' backs.
    """

    @property
    def elsewhere(self) -> bool: ...

    async def open(self, names: Names, announce: Announce) -> Swept:
        """Once, before anything else: tidies up what a crash left, if it can be found by comparing with the database.

        A store elsewhere leaves that, and awaits `announce(blob)` before it keeps the first byte of one instead.
        """

    async def close(self) -> None:
        """Waits for what runs."""

    def upload(self) -> BlobUpload: ...

    def open_reader(self, blob: str, size: int) -> BlobReader:
        """Opens the first `size` bytes of a blob. Blocks: for a thread that has just read the row. Close it."""

    async def compose(self, ranges: Sequence[ByteRange]) -> Written:
        """A new blob of ranges of others, in their order. Raises `EOFError` when one is shorter than its range."""

    async def copy(self, source: BlobReader, start: int, length: int) -> Written:
        """A new blob of bytes of one that is open."""

    async def extend(self, blob: str, size: int, crc64: int, addition: Written) -> int:
        """Puts the bytes of `addition` behind the first `size` bytes of `blob`; from their CRC to the CRC of all.

        Readers of those bytes are not disturbed. What stood behind them (of an append without a row) is cut off.
        """

    async def delete(self, blobs: Collection[str]) -> Collection[str]:
        """Afterwards they are gone, save those it returns, which are being read or still arrive; ask again for these.

        Those that are not there count as deleted.
        """

    def claim(self, blob: str) -> None:
        """A row mentions it now."""

    def unclaimed(self, age_s: float) -> Collection[str]:
        """Blobs that this process finished at least so long ago, and of which `claim` did not hear.

        Empty for a store whose blobs are announced: the announcements say it.
        """

    async def collect(self, age_s: float) -> int:
        """Removes what uploads left that have not grown for so long; returns how many that were."""
