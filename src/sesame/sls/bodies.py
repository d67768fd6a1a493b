"""Bodies of requests and answers: read whole, unpacked and packed, each within its bound.

Called by `sls.app` and by the operations that take or give logs. What is large is unpacked and hashed on a thread.
"""

import asyncio
import zlib
from collections.abc import Callable
from typing import TypeVar

import lz4.block

from sesame.sls.errors import SlsError
from sesame.sls.request import Request, natural

T = TypeVar("T")

MIB = 1024 * 1024
# The logs of one request, before they were compressed.
LOGS_BYTES_MAX = 10 * MIB
# What pages send without a signature.
TRACKED_BYTES_MAX = 3 * MIB
# Configurations and queries.
JSON_BYTES_MAX = 1 * MIB
# What is worked on for less than a millisecond or two stays on the event loop.
INLINE_BYTES_MAX = 128 * 1024
LZ4, DEFLATE, GZIP = "lz4", "deflate", "gzip"


def too_large(limit_bytes: int) -> SlsError:
    return SlsError(
        "PostBodyTooLarge",
        f"the body is too large: expected at most {limit_bytes // MIB} MB before compression; send less at once",
    )


async def off_loop(size_bytes: int, work: Callable[[], T]) -> T:
    """The result of `work`, done on a thread where it works on much."""
    return work() if size_bytes <= INLINE_BYTES_MAX else await asyncio.to_thread(work)


def unpacked(request: Request, body: bytes, limit_bytes: int) -> bytes:
    """The body without its compression. `x-log-bodyrawsize` tells its size, also to LZ4, whose blocks do not.

    Raises SlsError.
    """
    compression = request.header("x-log-compresstype").lower()
    if not compression:
        return body
    if compression not in (LZ4, DEFLATE, GZIP):
        raise SlsError("InvalidCompressType")
    size = _raw_size(request)
    if size > limit_bytes:
        raise too_large(limit_bytes)
    try:
        raw = lz4.block.decompress(body, uncompressed_size=size) if compression == LZ4 else _inflated(body, size)
    except (lz4.block.LZ4BlockError, zlib.error) as error:
        raise SlsError("PostBodyUncompressError", f"failed to decompress logs as {compression}: {error}") from error
    if len(raw) != size:
        raise SlsError(
            "PostBodyUncompressError",
            f"failed to decompress logs: x-log-bodyrawsize is {size}, found {len(raw)} bytes",
        )
    return raw


def packed(request: Request, raw: bytes) -> tuple[bytes, dict[str, str]]:
    """The bytes to send, and the headers that say how they are compressed: as the client asks, or not at all."""
    accepted = [part.partition(";")[0].strip().lower() for part in request.header("accept-encoding").split(",")]
    if LZ4 not in accepted or not raw:
        return raw, {"x-log-bodyrawsize": str(len(raw))}
    return lz4.block.compress(raw, store_size=False), {"x-log-bodyrawsize": str(len(raw)), "x-log-compresstype": LZ4}


def _raw_size(request: Request) -> int:
    text = request.header("x-log-bodyrawsize")
    if not text:
        raise SlsError("MissingBodyRawSize")
    size = natural(text)
    if size is None:
        raise SlsError("InvalidBodyRawSize", f"x-log-bodyrawsize '{text[:64]}' is invalid: expected a number of bytes")
    return size


def _inflated(body: bytes, size: int) -> bytes:
    """At most one byte more than `size`, which then is too much. Takes zlib's form, gzip's, and raw deflate."""
    try:
        return zlib.decompressobj(zlib.MAX_WBITS | 32).decompress(body, size + 1)
    except zlib.error:
        return zlib.decompressobj(-zlib.MAX_WBITS).decompress(body, size + 1)
