"""The compiler of packages, under every interpreter found here.

Run by pytest.
Never runs what it compiled.
"""

import sys
from pathlib import Path

import pytest

from sesame.sandbox.runtimes import interpreters
from sesame.store.packages.bytecode import BytecodeCompiler

FOUND = {runtime: found.path for runtime, found in interpreters.discover().items()} | {"this": Path(sys.executable)}


def compiled(folder: Path) -> list[str]:
    return sorted(path.name.split(".")[0] for path in folder.rglob("*.pyc"))


@pytest.mark.parametrize("runtime", FOUND)
async def test_sources_are_compiled_and_mistakes_in_them_do_no_harm(runtime: str, tmp_path: Path) -> None:
    (tmp_path / "deep" / "er").mkdir(parents=True)
    (tmp_path / "index.py").write_text("import sys\nraise SystemExit(1)\n")
    (tmp_path / "deep" / "er" / "module.py").write_text("x = 1\n")
    (tmp_path / "broken.py").write_text("def f(:\n")
    (tmp_path / "nul.py").write_bytes(b"x = '\0'\n")
    (tmp_path / "compileall.py").write_text("raise SystemExit('shadowed')\n")
    await BytecodeCompiler(FOUND)(runtime, tmp_path)
    assert compiled(tmp_path) == ["compileall", "index", "module"]


async def test_unknown_runtimes_and_packages_without_sources_are_left_alone(tmp_path: Path) -> None:
    compile = BytecodeCompiler({"python3": tmp_path / "there is no such interpreter"})
    (tmp_path / "index.js").write_text("1")
    await compile("python3", tmp_path)
    (tmp_path / "index.py").write_text("1")
    await compile("nodejs12", tmp_path)
    assert compiled(tmp_path) == []


async def test_endless_compiling_is_cut_off(tmp_path: Path) -> None:
    slow = tmp_path / "slow"
    slow.write_text("#!/bin/sh\nexec sleep 60\n")
    slow.chmod(0o755)
    (tmp_path / "index.py").write_text("1")
    await BytecodeCompiler({"python3": slow}, timeout_s=0.2)("python3", tmp_path)
    assert compiled(tmp_path) == []
