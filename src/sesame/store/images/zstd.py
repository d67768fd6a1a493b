"""Reads layers compressed by zstd where there is a decoder: Python's own from 3.14 on, else the extra `images`.

Used by `store.images.layers`, which bounds what it takes.
"""

import sys
from typing import IO

# The window of a frame is what its decoder keeps in memory: 128 MiB, which is zstd's own bound.
WINDOW_LOG_MAX = 27


class ZstdReader:
    """All frames of a file, one after the other. Making one raises `ImportError` where there is no decoder.

    Reading raises `ValueError` for what is no frame, `EOFError` for half of one.
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
