"""Counts the open descriptors of this process, and lets it run out of them."""

import contextlib
import errno
import os
from collections.abc import Callable
from typing import Any


def descriptors() -> list[str]:
    """What each open descriptor of this process is."""
    found = []
    for number in os.listdir("/proc/self/fd"):
        # The listing's own is closed by now.
        with contextlib.suppress(FileNotFoundError):
            found.append(os.readlink(f"/proc/self/fd/{number}"))
    return found


def failing(function: Callable[..., Any], after: int) -> Callable[..., Any]:
    """The function; it fails like a process out of descriptors, from the call after so many on."""
    left = [after]

    def limited(*arguments: Any) -> Any:
        if not left[0]:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        left[0] -= 1
        return function(*arguments)

    return limited
