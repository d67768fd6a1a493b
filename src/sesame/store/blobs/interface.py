"""The interface of a blob store: it keeps bytes under names of its own, and they never change under a reader.

Implemented by `store.blobs.files`; used by `store.objects`. A blob belongs to no object until a row mentions it.
"""

from collections.abc import Collection, Sequence
from types import TracebackType
from typing import Protocol, Self

import msgspec

from sesame.model.object import Written


class ByteRange(msgspec.Struct, frozen=True):
    """`length` bytes of a blob from `start` on."""

    blob: str
    start: int
    length: int


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

    async def read(self, start: int, length: int) -> bytes:
        """Up to `length` bytes from `start`; fewer at the end."""

    def close(self) -> None: ...


class BlobStore(Protocol):
    """Every method raises `OSError` for faults of the machine, and `FileNotFoundError` for a blob that is gone."""

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

    async def delete(self, blobs: Collection[str]) -> None:
        """Afterwards they are gone; those that are not there count as deleted."""
