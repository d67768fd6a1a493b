"""Compiling in the background: one package after the other, whatever happens to each, never in a deployment's way.

Run by pytest; what compiles is a fake here, the real one is in tests/sandbox/test_compiling.py.
"""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.support import zips

from sesame.model.function import Package
from sesame.store.packages.compiling import CompileQueue, compile_queued
from sesame.store.packages.packages import Packages


class Compiler:
    """Writes what it was asked for; waits, fails and gives up as it is told."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.may_go_on = asyncio.Event()
        self.may_go_on.set()
        self.result: bool | Exception = True

    async def __call__(self, runtime: str, code_dir: Path, output: Path) -> bool:
        result = self.result
        self.asked.append(runtime)
        await self.may_go_on.wait()
        await asyncio.to_thread(output.write_bytes, f"{runtime} {code_dir.name}".encode())
        if isinstance(result, Exception):
            raise result
        return result


class Stage:
    def __init__(self, root: Path) -> None:
        self.root = root
        self.queue = CompileQueue()
        self.packages = Packages(root, self.queue.put)
        self.compiler = Compiler()

    async def add(self, text: str, runtime: str = "python3") -> Package:
        return await self.packages.add(zips.zip_of({"index.py": text}), runtime)

    async def compiled(self, package: Package, runtime: str = "python3") -> bytes:
        path = self.packages.compiled(package, runtime)
        async with asyncio.timeout(30):
            while not path.exists():  # noqa: ASYNC110 - a file tells nobody that it is there
                await asyncio.sleep(0.005)
        return path.read_bytes()


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    stage = Stage(tmp_path / "packages")
    await stage.packages.open()
    task = asyncio.create_task(compile_queued(stage.queue, stage.packages, stage.compiler))
    yield stage
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()


async def test_a_package_is_compiled_once_for_each_runtime(stage: Stage) -> None:
    package = await stage.add("1")
    assert await stage.compiled(package) == b"python3 code"
    assert await stage.add("1", "python2.7") == package
    assert await stage.compiled(package, "python2.7") == b"python2.7 code"
    await stage.add("1")
    assert stage.compiler.asked == ["python3", "python2.7"]
    assert not list((stage.root / "staging").iterdir())


async def test_a_deployment_does_not_wait_for_a_compiler(stage: Stage) -> None:
    stage.compiler.may_go_on.clear()
    first = await stage.add("1")
    second = await stage.add("2")
    assert stage.packages.code_dir(first).is_dir()
    assert not stage.packages.compiled(first, "python3").exists()
    stage.compiler.may_go_on.set()
    assert await stage.compiled(second)


@pytest.mark.parametrize("result", [False, OSError(28, "No space left on device")])
async def test_a_package_that_cannot_be_compiled_leaves_nothing_and_delays_no_other(
    stage: Stage, result: bool | Exception
) -> None:
    stage.compiler.result = result
    failing = await stage.add("1")
    async with asyncio.timeout(30):
        while not stage.compiler.asked:  # noqa: ASYNC110
            await asyncio.sleep(0.005)
    stage.compiler.result = True
    assert await stage.compiled(await stage.add("2"))
    assert not stage.packages.compiled(failing, "python3").exists()
    assert not list((stage.root / "staging").iterdir())
    assert not stage.packages.is_leased(failing.sha256)


async def test_a_package_removed_meanwhile_is_skipped(stage: Stage) -> None:
    stage.compiler.may_go_on.clear()
    await stage.add("1")
    gone = await stage.add("2")
    stage.packages.folder.remove(gone.sha256)
    stage.compiler.may_go_on.set()
    assert await stage.compiled(await stage.add("3"))
    assert not stage.packages.code_dir(gone).exists()
