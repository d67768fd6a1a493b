"""Sources that take the bytecode compiler minutes and gigabytes cost the host neither, and their package its bytecode
alone.
"""

import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from tests.security.grades import GRADES
from tests.support.interpreters import INTERPRETERS
from tests.support.jails import jail, jail_only, resolve

from sesame.sandbox import compiling
from sesame.sandbox.compiling import SandboxedCompiler
from sesame.sandbox.drivers import compiler_on
from sesame.sandbox.interface import SandboxSpec
from sesame.sandbox.jail.driver import JailDriver
from sesame.sandbox.memory import MIB
from sesame.sandbox.shim import SHIM

pytestmark = jail_only

MORE_THAN_IT_MAY_MB = 1.1 * compiling.MEMORY_MB
MARK = b"a text that stands in the code"
# Each level is compiled twice into the one above it: code as long as 2 to this power.
DEEP = 19


def deep_source() -> str:
    lines = [
        line
        for depth in range(DEEP)
        for line in (" " * depth + "try:", " " * depth + " a = 1", " " * depth + "finally:")
    ]
    return "\n".join([*lines, " " * DEEP + f"b = {MARK.decode()!r}", ""])


@pytest.fixture
def runtime() -> str:
    if "python3.12" not in INTERPRETERS:
        pytest.skip("no interpreter found for python3.12")
    return "python3.12"


@pytest.fixture
def code(tmp_path: Path) -> Path:
    """One source that attacks, between two that do not."""
    folder = tmp_path / "code"
    folder.mkdir()
    for name in ("a.py", "z.py"):
        (folder / name).write_text(f"value = {MARK.decode()!r}\n")
    (folder / "deep.py").write_text(deep_source())
    for path in (tmp_path, folder):
        path.chmod(0o755)
    return folder


class Watched:
    """A driver that remembers what it was asked to start."""

    def __init__(self, driver: JailDriver) -> None:
        self._driver = driver
        self.name = driver.name
        self.asked: list[SandboxSpec] = []
        self.sandboxes: list[Any] = []

    async def create(self, spec: SandboxSpec, *told: Any) -> Any:
        self.asked.append(spec)
        self.sandboxes.append(await self._driver.create(spec, *told))
        return self.sandboxes[-1]


@pytest.fixture(params=list(GRADES))
async def driver(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Watched]:
    async with jail(tmp_path / "jail", **GRADES[request.param]) as made:
        yield Watched(made)


async def test_a_source_that_takes_the_compiler_gigabytes_is_left_out(
    driver: Any, code: Path, tmp_path: Path, runtime: str
) -> None:
    compiler: SandboxedCompiler = compiler_on(driver, resolve)
    assert await compiler(runtime, code, tmp_path / "compiled")
    # Of the two others alone.
    assert (tmp_path / "compiled").read_bytes().count(MARK) == 2
    (sandbox,) = driver.sandboxes
    assert sandbox.memory_peak_mb() <= MORE_THAN_IT_MAY_MB
    assert sandbox.death is not None


def test_outside_of_a_sandbox_it_takes_more_than_it_may_there(code: Path, tmp_path: Path) -> None:
    """The same program on the same source, without what bounds it."""
    program = (
        "import sys; sys.path.insert(0, sys.argv[1]); import compile_package; "
        "compile_package._code(sys.argv[2], '/code/deep.py')"
    )
    arguments = [sys.executable, "-B", "-c", program, str(SHIM / "python"), str(code / "deep.py")]
    with subprocess.Popen(arguments) as compiler:
        try:
            assert holds(compiler, MORE_THAN_IT_MAY_MB)
        finally:
            compiler.kill()


def holds(process: subprocess.Popen[bytes], memory_mb: float) -> bool:
    """Whether it comes to hold more than so much before it ends."""
    watched = psutil.Process(process.pid)
    while process.poll() is None:
        if watched.memory_info().rss > memory_mb * MIB:
            return True
    return False
