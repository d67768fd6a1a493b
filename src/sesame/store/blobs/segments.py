"""How a blob is stored in a bucket: as segments of one size, each an object of its own, so that none is rewritten.

Used by `store.blobs.s3` and by code that reads or copies blobs without a running Sesame.
"""

import asyncio

from sesame.store.blobs.bucket import Bucket, Listed, Piece

# Also limits how much of a body is in memory twice: one segment is uploaded while the next arrives.
SEGMENT_BYTES = 8 * 1024 * 1024
DATA, PACKAGES = "data", "packages"


def folder_of(blob: str) -> str:
    return f"{DATA}/{blob}"


def folder_of_archive(sha256: str) -> str:
    return f"{PACKAGES}/{sha256}"


def segment_of(folder: str, number: int) -> str:
    """The path of a segment. Numbers are padded so that they sort as text: 5 GB have 640 segments."""
    return f"{folder}/{number:06d}"


def path_of(blob: str, number: int) -> str:
    """The path of a blob's segment."""
    return segment_of(folder_of(blob), number)


async def segments_in(bucket: Bucket, folder: str) -> list[Listed]:
    """The segments in order."""
    return sorted(await bucket.listing(folder), key=lambda each: each.path)


async def fetch(bucket: Bucket, blob: str, start: int, length: int) -> bytes:
    """Bytes of one blob, across segments; fewer than requested if a segment ends early.

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
