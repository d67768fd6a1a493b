"""Packages are compiled inside a sandbox, by every driver, within limits, and as the shim wants them.

Run by pytest with real interpreters and, where one can be made, a real jail.
"""

import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, cast

import pytest
from tests.support.interpreters import BETWEEN, INTERPRETERS
from tests.support.jails import ISOLATION, resolve

from sesame.model import limits
from sesame.sandbox import compiling
from sesame.sandbox.compiling import SandboxedCompiler
from sesame.sandbox.drivers import Wanted, choose, compiler_on
from sesame.sandbox.interface import Sandbox, SandboxDriver, SandboxSpec, SandboxStartFailed

DRIVERS = ["plain", *(["jail"] if ISOLATION.possible else [])]


@pytest.fixture(params=DRIVERS)
async def compiler(request: Any, tmp_path: Path) -> AsyncIterator[SandboxedCompiler]:
    wanted = Wanted(name=request.param, cpu="shares", state=tmp_path / "state", runtimes=())
    driver = (await choose(wanted, resolve)).driver
    await driver.open()
    yield compiler_on(driver, resolve)
    await driver.close()


@pytest.fixture
def code(tmp_path: Path) -> Path:
    folder = tmp_path / "package" / "code"
    (folder / "inner").mkdir(parents=True)
    for name in ("index.py", "inner/__init__.py", "inner/deep.py"):
        (folder / name).write_text("value = 'a text that stands in the code'\n")
    (folder / "broken.py").write_text("def broken(:\n")
    for path in (tmp_path, folder.parent, folder):
        path.chmod(0o755)
    return folder


def files(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*"))


@pytest.mark.parametrize(
    "runtime",
    [pytest.param(each, marks=pytest.mark.thorough if each in BETWEEN else ()) for each in sorted(INTERPRETERS)],
)
async def test_a_package_is_compiled_and_left_as_it_is(
    compiler: SandboxedCompiler, code: Path, tmp_path: Path, runtime: str
) -> None:
    before = files(code)
    assert await compiler(runtime, code, tmp_path / "compiled")
    written = (tmp_path / "compiled").read_bytes()
    assert written.count(b"a text that stands in the code") == 3
    assert b"inner/deep.py" in written
    assert files(code) == before


class RecordingDriver:
    """Keeps what it is asked to start, and starts nothing."""

    def __init__(self) -> None:
        self.asked: list[SandboxSpec] = []

    async def create(self, spec: SandboxSpec, _on_output: object, _on_death: object) -> Sandbox:
        self.asked.append(spec)
        raise SandboxStartFailed("nothing is started here")


async def test_compiling_yields_the_processor_to_every_function(code: Path, tmp_path: Path) -> None:
    driver = RecordingDriver()
    runtime = sorted(INTERPRETERS)[0]
    assert not await SandboxedCompiler(cast(SandboxDriver, driver), resolve, "shim")(runtime, code, tmp_path / "out")
    (spec,) = driver.asked
    assert spec.cpu_shares is not None
    assert spec.cpu_shares * 10 < limits.MEMORY_MB_MIN


async def test_a_runtime_without_an_interpreter_is_not_compiled(
    compiler: SandboxedCompiler, code: Path, tmp_path: Path
) -> None:
    assert not await compiler("custom", code, tmp_path / "compiled")
    assert not (tmp_path / "compiled").exists()


async def test_a_compiler_that_takes_too_long_is_ended(
    compiler: SandboxedCompiler, code: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compiling, "END_S", 0.0)
    assert not await compiler("python3.12", code, tmp_path / "compiled")


async def test_sources_that_attack_the_compiler_are_left_out(
    compiler: SandboxedCompiler, code: Path, tmp_path: Path
) -> None:
    (code / "a_number.py").write_text("value = 2 ** 2 ** 40\n")
    (code / "a_depth.py").write_text("value = " + "(" * 90_000 + ")" * 90_000 + "\n")
    (code / "a_list.py").write_text("value = " + "['x' * 4000] * 100," * 20_000 + "\n")
    assert await compiler("python3.12", code, tmp_path / "compiled")
    assert (tmp_path / "compiled").read_bytes().count(b"a text that stands in the code") == 3


async def test_the_output_is_bounded(
    compiler: SandboxedCompiler, code: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compiling, "OUTPUT_BYTES_MAX", 100)
    assert not await compiler("python3.12", code, tmp_path / "compiled")


@pytest.mark.skipif(not ISOLATION.possible, reason=f"no jail can be made here: {ISOLATION.reason}")
async def test_the_compiler_has_no_capability_and_a_user_of_its_own_in_the_jail(tmp_path: Path, code: Path) -> None:
    (code / "python").mkdir()
    (code / "python" / "compile_package.py").write_text(
        "import os\nos.write(1, open('/proc/self/status').read().encode())\n"
    )
    wanted = Wanted(name="jail", cpu="shares", state=tmp_path / "state", runtimes=())
    driver = (await choose(wanted, resolve)).driver
    await driver.open()
    try:
        assert await SandboxedCompiler(driver, resolve, "/code", "/code")("python3.12", code, tmp_path / "seen")
    finally:
        await driver.close()
    seen = (tmp_path / "seen").read_text()
    assert "CapEff:\t0000000000000000" in seen
    assert "CapBnd:\t0000000000000000" in seen
    assert "NoNewPrivs:\t1" in seen
    assert f"Uid:\t{os.getuid()}\t" not in seen or os.getuid() != 0
