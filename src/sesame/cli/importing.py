"""Imports what a server consists of in less time than by itself.

Used by `cli.main` for the commands that run one, by `cli.invoke` for local calls, and by `testing.process`.
"""

import contextlib
import gc
import sys
from collections.abc import Iterator
from typing import Any


@contextlib.contextmanager
def without_collection() -> Iterator[None]:
    """Looks for no garbage meanwhile: modules make hundreds of thousands of objects, which stay."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def import_structlog() -> None:
    """Without rich, which structlog imports for tracebacks that Sesame's log does not have.

    That takes longer than all of Sesame's own modules. rich can be imported as ever afterwards.
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
