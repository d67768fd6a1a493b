"""Compiles a code package inside a sandbox, in an instance that runs only `compile_package.py`.

`app` passes it to `store.packages.compiling`. The compiler has a small function's privileges, memory and process limit,
and a time limit: no interpreter outside a sandbox ever reads a source file.
"""

import asyncio
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import BinaryIO

import structlog

from sesame.model.command import Command, Execution
from sesame.model.errors import SesameError
from sesame.sandbox.interface import KillReason, Sandbox, SandboxDriver, SandboxSpec
from sesame.sandbox.launch import PYTHON_SHIM, Launch

MEMORY_MB = 512
DISK_MB = 512
# Compiling yields to calls: it has a twelfth of the processor weight of the smallest function.
CPU_SHARES = 10
NICENESS = 19
# After this time the program stops by itself and keeps the files compiled so far.
COMPILE_S = 15
END_S = 25.0
OUTPUT_BYTES_MAX = 128 * 1024 * 1024
MESSAGE_BYTES_MAX = 2000
# Output is written to the file in blocks of this size, each in a thread.
PORTION_BYTES = 1024 * 1024
_OUTPUT, _ERRORS = 1, 2

# Limits for drivers without cgroups. RLIMIT_CPU ends a compiler that hangs.
_LIMITED = (
    "import os,resource,sys;"
    f"os.nice({NICENESS});"
    f"resource.setrlimit(resource.RLIMIT_AS,({MEMORY_MB}<<20,)*2);"
    f"resource.setrlimit(resource.RLIMIT_CPU,({COMPILE_S}+5,)*2);"
    "os.execv(sys.executable,[sys.executable]+sys.argv[1:])"
)

# The shim requires a function's description, although this instance calls no function.
_SETUP: Mapping[str, object] = {
    "account_id": "",
    "region": "",
    "service": {"name": "", "log_project": "", "log_store": ""},
    "function": {
        "name": "",
        "handler": "",
        "memory": MEMORY_MB,
        "timeout": COMPILE_S,
        "initializer": "",
        "initialization_timeout": COMPILE_S,
    },
    "pre_freeze": "",
    "pre_stop": "",
    "notice": "",
}

log = structlog.get_logger(__name__)


class SandboxedCompiler:
    """`shim` and `code_root` are the paths of the shim and of the package inside an instance.

    `code_root` None means the same path as on the host.
    """

    def __init__(
        self, driver: SandboxDriver, launch: Callable[[str], Launch], shim: str, code_root: str | None = None
    ) -> None:
        self._driver = driver
        self._launch = launch
        self._shim = shim
        self._code_root = code_root

    async def __call__(self, runtime: str, code_dir: Path, output: Path) -> bool:
        """Compiles `code_dir` with `compile_package.py` into the new file `output`; returns False if that fails.

        Raises `OSError` if the file cannot be written.
        """
        try:
            launch = self._launch(runtime)
        except LookupError:
            return False
        if launch.shim != PYTHON_SHIM:
            # The function's language is unknown.
            return False
        interpreter = launch.interpreter.resolve()
        root = self._code_root or str(code_dir)
        program = (f"{self._shim}/python/compile_package.py", root, "/code", str(_OUTPUT), str(COMPILE_S))
        flags = ("-E", "-s", "-S", "-B", "-W", "ignore")
        command = Command((str(interpreter), *flags, "-c", _LIMITED, *flags, *program), stdin=False)
        try:
            sandbox = await self._driver.create(_spec(runtime, code_dir), _drop, _ignore_death)
            try:
                async with asyncio.timeout(END_S):
                    return await self._run(sandbox, command, output, runtime)
            finally:
                await asyncio.shield(sandbox.kill(KillReason.DONE))
        except (SesameError, TimeoutError) as error:
            log.info("a package was not compiled", runtime=runtime, error=str(error) or "it took too long")
            return False

    async def _run(self, sandbox: Sandbox, command: Command, output: Path, runtime: str) -> bool:
        execution = await sandbox.exec(command)
        try:
            with await asyncio.to_thread(output.open, "xb") as file:
                said = await _copy(execution, file)
            if said is None:
                log.info("a compiled package is too large", runtime=runtime, limit_bytes=OUTPUT_BYTES_MAX)
                return False
            status = await execution.wait()
        finally:
            await asyncio.shield(execution.close())
        if status or said:
            log.info("a package was not compiled", runtime=runtime, status=status, error=said.decode(errors="replace"))
        return status == 0


async def _copy(execution: Execution, file: BinaryIO) -> bytes | None:
    """Copies stdout to the file. Returns the beginning of stderr, or None if the output is too large."""
    said, portion, size = b"", bytearray(), 0
    while (piece := await execution.read()) is not None:
        stream, data = piece
        if stream == _ERRORS:
            said = (said + data)[:MESSAGE_BYTES_MAX]
            continue
        size += len(data)
        if size > OUTPUT_BYTES_MAX:
            return None
        portion += data
        if len(portion) >= PORTION_BYTES:
            await asyncio.to_thread(file.write, bytes(portion))
            portion.clear()
    await asyncio.to_thread(file.write, bytes(portion))
    return said


def _spec(runtime: str, code_dir: Path) -> SandboxSpec:
    return SandboxSpec(
        instance_id=f"compile-{uuid.uuid4()}",
        runtime=runtime,
        code_dir=code_dir,
        layer_dirs=(),
        environment={"LC_ALL": "C.UTF-8"},
        memory_mb=MEMORY_MB,
        disk_mb=DISK_MB,
        setup=_SETUP,
        cpu_shares=CPU_SHARES,
    )


def _drop(_output: bytes) -> None:
    """Ignores output: no code of the package runs in the instance, so there is none."""


def _ignore_death() -> None:
    """Ignores the instance's death, which also ends the command and is reported by `_run`."""
