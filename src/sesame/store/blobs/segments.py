"""How a blob lies in a bucket: as segments of one size, each an object of its own, so that none has to be rewritten.

Used by `store.blobs.s3` and by whoever reads or copies blobs without a running Sesame.
"""

import asyncio

from sesame.store.blobs.bucket import Bucket, Listed, Piece

# Also the most of one body that is in memory twice: one segment on its way while the next arrives.
SEGMENT_BYTES = 8 * 1024 * 1024
DATA, PACKAGES = "data", "packages"


def folder_of(blob: str) -> str:
    return f"{DATA}/{blob}"


def folder_of_archive(sha256: str) -> str:
    return f"{PACKAGES}/{sha256}"


def segment_of(folder: str, number: int) -> str:
    """Numbers sort as texts: 5 GB have 640 segments."""
    return f"{folder}/{number:06d}"


def path_of(blob: str, number: int) -> str:
    """Of a segment."""
    return segment_of(folder_of(blob), number)


async def segments_in(bucket: Bucket, folder: str) -> list[Listed]:
    """In order."""
    return sorted(await bucket.listing(folder), key=lambda each: each.path)


async def fetch(bucket: Bucket, blob: str, start: int, length: int) -> bytes:
    """Bytes of one blob, across segments; fewer than asked for where a segment ends early.

    Raises `FileNotFoundError`.
    """
    pieces = []
    while length > 0:
        number, offset = divmod(start, SEGMENT_BYTES)
        taken = min(length, SEGMENT_BYTES - offset)
        pieces.append((number, offset, taken))
        start += taken
        length -= taken
    found: list[Piece] = await asyncio.gather(
        *(bucket.get(path_of(blob, n), offset, size) for n, offset, size in pieces)
    )
    if len(found) == 1:
        return found[0].data
    whole = b""
    for piece, (_number, _offset, size) in zip(found, pieces, strict=True):
        whole += piece.data
        if len(piece.data) < size:
            break
    return whole
