"""Bodies of requests and answers: reads, decompresses and compresses them, each within its limit.

Called by `sls.app` and by the operations that receive or return logs. Large bodies are processed on a thread.
"""

import asyncio
import zlib
from collections.abc import Callable
from typing import TypeVar

import lz4.block

from sesame.model.natural import natural
from sesame.sls.errors import SlsError
from sesame.sls.request import NUMBER_MAX, Request

T = TypeVar("T")

MIB = 1024 * 1024
# Limits the logs of one request, decompressed.
LOGS_BYTES_MAX = 10 * MIB
# Limits bodies of web tracking, which are unsigned.
TRACKED_BYTES_MAX = 3 * MIB
# Limits configurations and queries.
JSON_BYTES_MAX = 1 * MIB
# Smaller bodies take at most a millisecond or two, so the event loop processes them itself.
INLINE_BYTES_MAX = 128 * 1024
LZ4, DEFLATE, GZIP = "lz4", "deflate", "gzip"


def too_large(limit_bytes: int) -> SlsError:
    return SlsError(
        "PostBodyTooLarge",
        f"the body is too large: expected at most {limit_bytes // MIB} MB before compression; send less at once",
    )


async def off_loop(size_bytes: int, work: Callable[[], T]) -> T:
    """Runs `work`, on a thread if it processes more than INLINE_BYTES_MAX bytes."""
    return work() if size_bytes <= INLINE_BYTES_MAX else await asyncio.to_thread(work)


def unpacked(request: Request, body: bytes, limit_bytes: int) -> bytes:
    """Decompresses the body; its size comes from `x-log-bodyrawsize`, since LZ4 blocks do not record it.

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
    """The bytes to send and the headers that describe their compression; compressed only if the client accepts LZ4."""
    accepted = [part.partition(";")[0].strip().lower() for part in request.header("accept-encoding").split(",")]
    if LZ4 not in accepted or not raw:
        return raw, {"x-log-bodyrawsize": str(len(raw))}
    return lz4.block.compress(raw, store_size=False), {"x-log-bodyrawsize": str(len(raw)), "x-log-compresstype": LZ4}


def _raw_size(request: Request) -> int:
    text = request.header("x-log-bodyrawsize")
    if not text:
        raise SlsError("MissingBodyRawSize")
    size = natural(text, NUMBER_MAX)
    if size is None:
        raise SlsError("InvalidBodyRawSize", f"x-log-bodyrawsize '{text[:64]}' is invalid: expected a number of bytes")
    return size


def _inflated(body: bytes, size: int) -> bytes:
    """Decompresses zlib, gzip or raw deflate data; returns at most `size` + 1 bytes, which means it is too large."""
    try:
        return zlib.decompressobj(zlib.MAX_WBITS | 32).decompress(body, size + 1)
    except zlib.error:
        return zlib.decompressobj(-zlib.MAX_WBITS).decompress(body, size + 1)
