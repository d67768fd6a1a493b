"""A test's Sesame in its own process: starts as little as possible, and serves its parent's requests.

Started by `testing.process`, which sends lines of JSON to standard input and reads answers from standard output. Ends,
and removes its folder, when standard input is closed, however the parent ended.
"""

import asyncio
import contextlib
import gc
import os
import shutil
import sys
from collections.abc import Callable, Collection, Coroutine
from typing import Any

import msgspec
import uvloop

from sesame._sandbox import SandboxNeeds, SandboxOpening
from sesame.data_dir import DataDir
from sesame.sandbox.runtimes.lookup import Runtimes
from sesame.sandbox.runtimes.places import default_root
from sesame.testing.requests import Start

Serve = Callable[[Start, int, SandboxOpening], Coroutine[Any, Any, None]]


def main(argument: str) -> None:
    """The entry point of the process; returns at its end."""
    start = msgspec.json.decode(argument, type=Start)
    answers = _take_standard_output()
    # No data outlives the test, so nothing needs to reach the disk.
    setattr(os, "fsync", _no_wait)  # noqa: B010 - its type is that of the library
    # Until the server is up: most objects created until then stay, and collecting garbage would take a third of the
    # time.
    gc.disable()
    try:
        with contextlib.suppress(asyncio.CancelledError):
            uvloop.run(_run(start, answers))
    finally:
        shutil.rmtree(start.folder, ignore_errors=True)


async def _run(start: Start, answers: int) -> None:
    """Begins to open the sandbox, which needs few modules and waits for other processes; imports the rest meanwhile."""
    start.data.mkdir(mode=0o700)

    def first(found: Collection[str]) -> tuple[str, ...]:
        return tuple(name for name in start.ahead if name in found)[:1]

    sandbox = SandboxOpening(
        SandboxNeeds(
            driver=start.sandbox,
            cpu="shares",
            state=DataDir(start.data).sandboxes,
            look_up=lambda: Runtimes.look_up({}, default_root()),
            ahead=first,
        )
    )
    try:
        serve = await asyncio.to_thread(_import)
        await serve(start, answers, sandbox)
    finally:
        await sandbox.close()


def _take_standard_output() -> int:
    """Keeps standard output for answers only: anything else that is printed goes to standard error."""
    answers = os.dup(sys.stdout.fileno())
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    return answers


def _no_wait(_descriptor: Any) -> None:
    """Replaces `os.fsync`."""


def _import() -> Serve:
    from sesame.testing.serving import serve

    return serve
