"""Reads layers compressed by zstd if a decoder is available: Python's own from 3.14 on, else the extra `images`.

Used by `store.images.layers`, which limits the output.
"""

import sys
from typing import IO

# A decoder keeps a frame's window in memory; 128 MiB is also zstd's own limit.
WINDOW_LOG_MAX = 27


class ZstdReader:
    """Reads all frames of a file in order. The constructor raises `ImportError` if there is no decoder.

    Reading raises `ValueError` for invalid frames, `EOFError` for a truncated one.
    """

    def __init__(self, file: IO[bytes]) -> None:
        # Imported here because few images need it, and few machines have it.
        if sys.version_info >= (3, 14):
            from compression import zstd
        else:
            from backports import zstd
        self._error: type[Exception] = zstd.ZstdError
        self._file = zstd.ZstdFile(file, options={zstd.DecompressionParameter.window_log_max: WINDOW_LOG_MAX})

    def read(self, size: int, /) -> bytes:
        try:
            return self._file.read(size)
        except self._error as error:
            raise ValueError(str(error)) from error
