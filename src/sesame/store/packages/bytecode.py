"""Compiles a package with the interpreter that will import it, so that no cold start pays for it.

Handed to `store.packages.packages` by `app`, which knows where the interpreters are.
Never runs the package's code, and never fails because of it: what cannot be compiled is told at the call.
"""

import asyncio
from collections.abc import Mapping
from pathlib import Path

import structlog

COMPILE_TIMEOUT_S = 60.0
COMPILE_MEMORY_BYTES = 2 * 1024 * 1024 * 1024

log = structlog.get_logger(__name__)

# Speaks Python 2.7 to 3.13. The empty entry of sys.path is the working folder, and none of ours to import from.
# Compiling does not run the code, but a constant such as 2 ** 10 ** 10 is folded: hence the limits.
_PROGRAM = """
import sys
sys.path[:] = [entry for entry in sys.path if entry]
import compileall, resource
seconds, memory = int(sys.argv[2]), int(sys.argv[3])
resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
if sys.platform.startswith("linux"):
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
compileall.compile_dir(sys.argv[1], maxlevels=100, force=True, quiet=1)
"""


class BytecodeCompiler:
    """`await compiler(runtime, code_dir)`. Runtimes without an interpreter here are left as they are."""

    def __init__(self, interpreters: Mapping[str, Path], *, timeout_s: float = COMPILE_TIMEOUT_S) -> None:
        self._interpreters = interpreters
        self._timeout_s = timeout_s

    async def __call__(self, runtime: str, code_dir: Path) -> None:
        """Writes .pyc files next to the sources (2.7) or in __pycache__ (3); replaces those that are there."""
        interpreter = self._interpreters.get(runtime)
        if interpreter is None or not await asyncio.to_thread(_has_sources, code_dir):
            return
        arguments = (str(code_dir), str(max(1, int(self._timeout_s))), str(COMPILE_MEMORY_BYTES))
        process = await asyncio.create_subprocess_exec(
            str(interpreter), "-E", "-s", "-S", "-c", _PROGRAM, *arguments,
            cwd="/",
            env={"LC_ALL": "C.UTF-8", "PATH": "/usr/bin:/bin"},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        try:
            output, _ = await asyncio.wait_for(process.communicate(), self._timeout_s)
        except TimeoutError:
            log.warning("compiling a package took too long", runtime=runtime, limit_s=self._timeout_s)
            return
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        if process.returncode != 0:
            log.info(
                "a package could not be compiled to the end",
                runtime=runtime,
                status=process.returncode,
                output=output[-2000:].decode(errors="replace"),
            )
        else:
            log.debug("compiled a package", runtime=runtime, output=output[-2000:].decode(errors="replace"))


def _has_sources(code_dir: Path) -> bool:
    return next(code_dir.rglob("*.py"), None) is not None
