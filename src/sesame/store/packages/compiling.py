"""Compiles packages in the background, one after the other, so that no deployment waits for it and starts are faster.

Run by `app`, which hands in what compiles inside a sandbox. Without a compiled file an instance imports the sources.
"""

import asyncio
from pathlib import Path
from typing import Protocol

import structlog

from sesame.model.errors import SesameError
from sesame.store.packages.packages import Packages

log = structlog.get_logger(__name__)


class Compile(Protocol):
    async def __call__(self, runtime: str, code_dir: Path, output: Path) -> bool:
        """Writes the compiled package to the new file `output`; False, and perhaps part of it, when that fails."""


class CompileQueue:
    """What is to be compiled: a package for a runtime, each once in a run of Sesame, however it ends."""

    def __init__(self) -> None:
        self._asked: set[tuple[str, str]] = set()
        self._waiting: asyncio.Queue[tuple[str, str]] = asyncio.Queue()

    def put(self, sha256: str, runtime: str) -> None:
        if (sha256, runtime) not in self._asked:
            self._asked.add((sha256, runtime))
            self._waiting.put_nowait((sha256, runtime))

    async def get(self) -> tuple[str, str]:
        return await self._waiting.get()


async def compile_queued(queue: CompileQueue, packages: Packages, compile: Compile) -> None:
    """Never returns. What cannot be compiled is left as it is: the function says what is wrong when it is called."""
    while True:
        sha256, runtime = await queue.get()
        output = packages.folder.scratch()
        try:
            lease = await packages.lease([sha256])
        except SesameError as error:
            log.info("a package to compile is gone", package=sha256, error=str(error))
            continue
        try:
            if await compile(runtime, lease.code_dirs[0], output):
                await asyncio.to_thread(packages.folder.write_compiled, sha256, runtime, output)
                log.debug("compiled a package", package=sha256, runtime=runtime)
        except (SesameError, OSError) as error:
            log.warning("a package could not be compiled", package=sha256, runtime=runtime, error=str(error))
        finally:
            lease.release()
            await asyncio.to_thread(output.unlink, missing_ok=True)
