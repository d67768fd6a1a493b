"""A test's Sesame in a process of its own: starts it with what can be left out left out, and obeys its parent.

Started by `testing.process`, which asks by lines of JSON on standard input and is answered on standard output. Ends,
and removes its folder, when standard input is closed, however the parent ended.
"""

import gc
import os
import shutil
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec

from sesame.sandbox.runtimes.lookup import Runtimes
from sesame.sandbox.runtimes.places import default_root
from sesame.testing.requests import Start


def main(argument: str) -> None:
    """The whole life of the process."""
    start = msgspec.json.decode(argument, type=Start)
    folder = Path(start.folder)
    answers = _take_standard_output()
    # The imports make hundreds of thousands of objects that stay: looking for garbage among them takes a third of them.
    gc.disable()
    # Nothing of a test outlives it, so nothing of it need be on the disk.
    setattr(os, "fsync", _no_wait)  # noqa: B010 - its type is that of the library
    try:
        # Each interpreter is run once meanwhile.
        with ThreadPoolExecutor(1) as threads:
            runtimes = threads.submit(Runtimes.look_up, {}, default_root())
            serve = _import()
            serve(start, answers, runtimes.result)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _take_standard_output() -> int:
    """Answers go to a descriptor that nothing else prints to; what is printed goes to standard error."""
    answers = os.dup(sys.stdout.fileno())
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    return answers


def _no_wait(_descriptor: Any) -> None:
    """In place of `os.fsync`."""


def _import() -> Callable[..., None]:
    # structlog would import rich, for tracebacks that are not made here; that takes longer than Sesame's own modules.
    absent: Any = None
    sys.modules["rich"] = absent
    import structlog  # noqa: F401

    del sys.modules["rich"]
    from sesame.testing.serving import serve

    return serve
