"""Speeds up importing the server's modules.

Used by `cli.main` for the commands that run a server, by `cli.invoke` for local calls, and by `testing.process`.
"""

import contextlib
import gc
import sys
from collections.abc import Iterator
from typing import Any


@contextlib.contextmanager
def without_collection() -> Iterator[None]:
    """Disables garbage collection: importing creates hundreds of thousands of objects that stay alive."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def import_structlog() -> None:
    """Imports structlog without rich, which it would import for tracebacks that Sesame's log does not print.

    Importing rich takes longer than all of Sesame's own modules. It remains importable afterwards.
    """
    absent: Any = None
    held = sys.modules.get("rich")
    sys.modules["rich"] = absent
    try:
        import structlog  # noqa: F401
    finally:
        del sys.modules["rich"]
        if held is not None:
            sys.modules["rich"] = held
