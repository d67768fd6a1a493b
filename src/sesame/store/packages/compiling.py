"""Compiles packages in the background, one after the other, so that instances start faster and no deployment waits.

Run by `app`, which passes the function that compiles in a sandbox. Without a compiled file an instance imports sources.
"""

import asyncio
from collections import deque
from pathlib import Path
from typing import Protocol

import structlog

from sesame.model.errors import SesameError
from sesame.store.packages.packages import Packages

log = structlog.get_logger(__name__)


class Compile(Protocol):
    async def __call__(self, runtime: str, code_dir: Path, output: Path) -> bool:
        """Writes the compiled package to the new file `output`. False means failure; `output` may be partial then."""


# POLICY: of this many packages Sesame remembers that they could not be compiled; older ones are tried again.
FAILED_MAX = 1000


class CompileQueue:
    """Pairs of package and runtime to compile. One that fails is tried once per run of Sesame (see FAILED_MAX)."""

    def __init__(self) -> None:
        self._asked: set[tuple[str, str]] = set()
        # Those that failed, the oldest first.
        self._failed: deque[tuple[str, str]] = deque()
        self._waiting: asyncio.Queue[tuple[str, str]] = asyncio.Queue()

    def put(self, sha256: str, runtime: str) -> None:
        if (sha256, runtime) not in self._asked:
            self._asked.add((sha256, runtime))
            self._waiting.put_nowait((sha256, runtime))

    async def get(self) -> tuple[str, str]:
        """The next pair; call `ended` for it."""
        return await self._waiting.get()

    def ended(self, sha256: str, runtime: str, *, failed: bool) -> None:
        """The package is compiled or gone, or could not be compiled."""
        if failed:
            self._failed.append((sha256, runtime))
        else:
            self._asked.discard((sha256, runtime))
        if len(self._failed) > FAILED_MAX:
            self._asked.discard(self._failed.popleft())


async def compile_queued(queue: CompileQueue, packages: Packages, compile: Compile) -> None:
    """Never returns. A package that cannot be compiled is left alone: its function reports errors when called."""
    while True:
        sha256, runtime = await queue.get()
        output = packages.folder.scratch()
        try:
            lease = await packages.lease([sha256])
        except SesameError as error:
            log.info("a package to compile is gone", package=sha256, error=str(error))
            queue.ended(sha256, runtime, failed=False)
            continue
        failed = True
        try:
            if await compile(runtime, lease.code_dirs[0], output):
                await asyncio.to_thread(packages.folder.write_compiled, sha256, runtime, output)
                failed = False
                log.debug("compiled a package", package=sha256, runtime=runtime)
        except (SesameError, OSError) as error:
            log.warning("a package could not be compiled", package=sha256, runtime=runtime, error=str(error))
        finally:
            queue.ended(sha256, runtime, failed=failed)
            lease.release()
            await asyncio.to_thread(output.unlink, missing_ok=True)
