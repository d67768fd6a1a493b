"""C libraries that a function ships are found by their bare names, with those that they need, as in the cloud."""

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from tests.runtime.conftest import FUNCTIONS

pytestmark = pytest.mark.asyncio(loop_scope="module")
# As the engine composes it (tests/engine/test_environment.py).
DEFAULT = "/code/:/code//lib:/opt/lib:/usr/local/lib"


def libraries(folder: Path, answer: int) -> Path:
    """Makes libfoo.so, which needs libbar.so beside it without saying where that is."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, code, needs in (
        ("bar", f"int bar(void) {{ return {answer}; }}", []),
        ("foo", "int bar(void); int answer(void) { return bar(); }", ["-L", str(folder), "-lbar"]),
    ):
        source = folder / f"{name}.c"
        source.write_text(code)
        target = str(folder / f"lib{name}.so")
        subprocess.run(["gcc", "-shared", "-fPIC", "-o", target, str(source), *needs], check=True)
    return folder


def environment(**more: str) -> dict[str, str]:
    return {"HOME": "/tmp", "LANG": "C.UTF-8", "LD_LIBRARY_PATH": DEFAULT, **more}


@pytest.fixture
def code(tmp_path: Path) -> Path:
    if shutil.which("gcc") is None:
        pytest.skip("needs gcc, to make a library")
    shutil.copytree(FUNCTIONS / "libraries", tmp_path / "code")
    return tmp_path / "code"


@pytest.mark.parametrize("folder", [".", "lib"])
@pytest.mark.parametrize("handler", ["index.handler", "index.by_a_program"])
async def test_in_the_code_and_its_lib(stage: Any, code: Path, folder: str, handler: str) -> None:
    libraries(code / folder, 42)
    actor = await stage.start(code, handler, environment=environment())
    assert await actor.json(b"libfoo.so") == 42


@pytest.mark.parametrize("handler", ["index.handler", "index.by_a_program"])
async def test_in_a_directory_that_the_function_names(stage: Any, code: Path, handler: str) -> None:
    libraries(code / "other" / "deep", 43)
    actor = await stage.start(code, handler, environment=environment(LD_LIBRARY_PATH="/code/other/deep"))
    assert await actor.json(b"libfoo.so") == 43
    again = await stage.start(code, handler, environment=environment(LD_LIBRARY_PATH=f"/code/other/deep:{DEFAULT}"))
    assert await again.json(b"libfoo.so") == 43


async def test_in_the_lib_of_a_layer(stage: Any, code: Path, tmp_path: Path) -> None:
    layer = tmp_path / "layer"
    libraries(layer / "lib", 44)
    actor = await stage.start(code, layer_dirs=(layer,), environment=environment())
    assert await actor.json(b"libfoo.so") == 44


async def test_a_library_that_is_loaded_before_all_others(stage: Any, code: Path) -> None:
    libraries(code / "other", 45)
    path = f"{stage.code_of(code)}/other"
    actor = await stage.start(
        code, "index.preloaded", environment=environment(LD_LIBRARY_PATH=path, LD_PRELOAD=f"{path}/libfoo.so")
    )
    assert await actor.json() == 45


async def test_what_the_interpreter_reads_at_its_start(stage: Any, code: Path) -> None:
    # Python 2 ignores the seed unless it is started with -R; the bare interpreter does the same.
    actor = await stage.start(code, "index.seed", environment=environment(PYTHONHASHSEED="7"))
    seed, value, _pid = await actor.json()
    assert (seed, value) == ("7", seeded_hash(stage.interpreter))


def seeded_hash(interpreter: str) -> int:
    command = [interpreter, "-S", "-c", "print(hash('text'))"]
    return int(subprocess.run(command, env={"PYTHONHASHSEED": "7"}, capture_output=True, check=True).stdout)
