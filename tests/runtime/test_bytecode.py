"""Compiled packages (runtime/python/bytecode.py, compile_package.py): quicker imports that a function cannot tell."""

import os
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from tests.runtime.conftest import FUNCTIONS
from tests.support.interpreters import INTERPRETERS

from sesame.sandbox.shim import SHIM

pytestmark = pytest.mark.asyncio(loop_scope="module")

COMPILER = SHIM / "python" / "compile_package.py"
_READ = """
import os, sys
sys.path.insert(0, sys.argv[1])
import bytecode
archive = bytecode.Archive(os.open(sys.argv[2], os.O_RDONLY), sys.argv[3])
for name in sorted(archive._entries):
    code = archive.code_of(os.path.join(sys.argv[3], name))
    print("%s %s" % (name, code is not None and code.co_filename == os.path.join(sys.argv[3], name)))
"""


def compiled(runtime: str, root: Path, output: Path, shown_as: str = "/code", seconds: float = 20.0) -> Path:
    with output.open("wb") as file:
        arguments = [str(root), shown_as, str(file.fileno()), str(seconds)]
        command = [str(INTERPRETERS[runtime].path), "-E", "-s", "-S", "-B", "-W", "ignore", str(COMPILER), *arguments]
        done = subprocess.run(command, pass_fds=[file.fileno()], capture_output=True, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    return output


def entries(runtime: str, archive: Path, root: Path) -> dict[str, bool]:
    """Which sources have code in the archive, and whether it is given for the source as it is now."""
    command = [str(INTERPRETERS[runtime].path), "-B", "-c", _READ, str(SHIM / "python"), str(archive), str(root)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return {name: given == "True" for name, given in (line.rsplit(" ", 1) for line in done.stdout.splitlines())}


@pytest.fixture
def package(tmp_path: Path) -> Path:
    code = tmp_path / "code"
    shutil.copytree(FUNCTIONS / "compiled", code, ignore=shutil.ignore_patterns("__pycache__", "*.pyc"))
    return code


async def test_a_function_cannot_tell_that_it_is_compiled(stage: Any, package: Path, tmp_path: Path) -> None:
    archive = compiled(stage.runtime, package, tmp_path / "archive")
    plain = await (await stage.start(package)).json()
    from_archive = await (await stage.start(package, compiled=(archive,))).json()
    loaders = plain.pop("loader"), from_archive.pop("loader")
    assert from_archive == plain
    assert loaders[0] == loaders[1]
    assert plain["files"] == ["index.py", "parts/__init__.py", "parts/inner.py"]
    assert not [name for name in plain["listing"] if "pyc" in name]
    assert 'File "/code/broken_late.py", line 2, in fails\n    raise ValueError' in plain["trace"]


async def test_code_comes_from_the_archive(stage: Any, package: Path, tmp_path: Path) -> None:
    """Seen by a source that changes without its size or time changing: the archive's code still says what it said."""
    source = package / "parts" / "inner.py"
    archive = compiled(stage.runtime, package, tmp_path / "archive")
    before = source.stat()
    source.write_text(source.read_text().replace("41 + 1", "41 + 2"))
    os.utime(source, ns=(before.st_atime_ns, before.st_mtime_ns))
    actor = await stage.start(package, compiled=(archive, tmp_path / "there is none"))
    assert (await actor.json())["value"] == 42
    os.utime(source, (before.st_atime + 5, before.st_mtime + 5))
    changed = await stage.start(package, compiled=(archive,))
    assert (await changed.json())["value"] == 43


@pytest.mark.parametrize("content", [b"", b"no archive", b"sesame bytecode 1\n" * 4])
async def test_an_invalid_archive_is_ignored(stage: Any, package: Path, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "archive").write_bytes(content)
    actor = await stage.start(package, compiled=(tmp_path / "archive",))
    assert (await actor.json())["value"] == 42


async def test_error_messages_about_sources_stay_the_interpreters_own(
    stage: Any, package: Path, tmp_path: Path
) -> None:
    archive = compiled(stage.runtime, package, tmp_path / "archive")
    for name in (b"no_coding", b"no_syntax", b"latin"):
        answers = []
        for files in ((), (archive,)):
            actor = await stage.start(package, "index.late", compiled=files)
            reply = await actor.invoke(name)
            answers.append((reply.ok, reply.payload))
        assert answers[0] == answers[1]
        assert answers[0][0] is (name == b"latin" or (name == b"no_coding" and not stage.py2))
        if not answers[0][0]:
            assert b'"errorType": "SyntaxError"' in answers[0][1]


async def test_a_layer_has_an_archive_of_its_own(stage: Any, package: Path, tmp_path: Path) -> None:
    layers = []
    for number in (1, 2):
        layer = tmp_path / f"layer{number}"
        (layer / "python").mkdir(parents=True)
        (layer / "python" / f"only{number}.py").write_text(f"NAME = {number}\n")
        (layer / "python" / "both.py").write_text(f"NAME = {number}{number}\n")
        layers.append(layer)
    archives = [compiled(stage.runtime, layer, tmp_path / layer.name / "a", "/opt") for layer in layers]
    (package / "index.py").write_text(
        "import both, only1, only2\ndef handler(event, context):\n    return [both.NAME, only1.NAME, only2.NAME]\n"
    )
    own = compiled(stage.runtime, package, tmp_path / "own")
    actor = await stage.start(package, layer_dirs=tuple(layers), compiled=(own, *archives))
    assert await actor.json() == [11, 1, 2]


async def test_children_of_the_function_import_too(stage: Any, package: Path, tmp_path: Path) -> None:
    (package / "index.py").write_text(
        "import multiprocessing\n"
        "def work(number):\n    from parts import inner\n    return inner.value() + number\n"
        "def handler(event, context):\n    pool = multiprocessing.Pool(3)\n    return pool.map(work, range(6))\n"
    )
    archive = compiled(stage.runtime, package, tmp_path / "archive")
    actor = await stage.start(package, compiled=(archive,))
    assert await actor.json() == [42, 43, 44, 45, 46, 47]


async def test_sources_that_take_the_compiler_too_long_are_skipped(runtime: str, tmp_path: Path) -> None:
    code = tmp_path / "code"
    code.mkdir()
    (code / "a.py").write_text("x = 1\n")
    (code / "bomb.py").write_text("x = " + "(" * 5000 + ")" * 5000 + "\n")
    (code / "slow.py").write_text("x = " + " + ".join(["'a' * 1000"] * 50_000) + "\n")
    (code / "nul.py").write_bytes(b"x = 1\0\n")
    (code / "z.py").write_text("y = 2\n")
    (code / "link.py").symlink_to("/etc/passwd")
    (code / "shipped.py").write_text("x = 1\n")
    (code / "shipped.pyc").write_bytes(b"")
    began = time.monotonic()
    archive = compiled(runtime, code, tmp_path / "archive", seconds=8.0)
    assert time.monotonic() - began < 60
    found = entries(runtime, archive, code)
    assert {"a.py", "z.py"} <= set(found) <= {"a.py", "z.py", "bomb.py", "slow.py"}
    assert all(found.values())


async def test_without_time_the_archive_is_empty(runtime: str, package: Path, tmp_path: Path) -> None:
    assert entries(runtime, compiled(runtime, package, tmp_path / "archive", seconds=0.0), package) == {}
