"""Reads a file that a setting names: a pipe or a device, whose reading may never end, is refused, as is one too large.

Used for sesame.toml and for the certificate and key of TLS.
"""

import errno
import os
import stat
from pathlib import Path


def content(path: Path, bytes_max: int) -> bytes:
    """Raises `OSError`, also for what is no regular file and for more than `bytes_max` bytes; `strerror` says which."""
    # O_NONBLOCK because opening a named pipe would otherwise wait for a writer.
    with open(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK), "rb") as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise OSError(errno.EINVAL, "it is no regular file", str(path))
        data = file.read(bytes_max + 1)
    if len(data) > bytes_max:
        raise OSError(errno.EFBIG, f"it has more than {bytes_max} bytes", str(path))
    return data
