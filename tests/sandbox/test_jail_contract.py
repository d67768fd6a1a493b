"""The contract with functions, held by the jail too: every test of tests/runtime that speaks of a driver, run again."""

import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from tests.runtime.conftest import FUNCTIONS, runtimes
from tests.runtime.test_bytecode import *  # noqa: F403
from tests.runtime.test_contract import *  # noqa: F403
from tests.runtime.test_everyday import *  # noqa: F403
from tests.runtime.test_failures import *  # noqa: F403
from tests.runtime.test_http import *  # noqa: F403
from tests.runtime.test_libraries import *  # noqa: F403
from tests.runtime.test_output import *  # noqa: F403
from tests.runtime.test_strings import *  # noqa: F403
from tests.runtime.test_time_is_up import *  # noqa: F403
from tests.support.interpreters import INTERPRETERS
from tests.support.jails import jail, jail_only

from sesame.sandbox.jail.driver import JailDriver
from sesame.sandbox.launch import Launch

pytestmark = [jail_only, pytest.mark.asyncio(loop_scope="module")]  # type: ignore[assignment]


@pytest.fixture(scope="module", params=runtimes(jail=True))
def runtime(request: pytest.FixtureRequest) -> str:
    if request.param not in INTERPRETERS:
        pytest.skip(f"no interpreter found for {request.param}")
    return str(request.param)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def driver(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[JailDriver]:
    async with jail(tmp_path_factory.mktemp("jail")) as made:
        yield made


async def test_packages_of_the_runtime_and_of_a_user_base(  # type: ignore[no-redef]
    stage: Any, tmp_path: Path
) -> None:
    """As in tests/runtime, with the user base where a jail can have one: in the code."""
    code, shipped = tmp_path / "code", tmp_path / "shipped"
    shutil.copytree(FUNCTIONS / "surroundings", code)
    resolve = stage.driver.resolve
    launch = resolve(stage.runtime)
    base = code / "base" / "lib" / launch.interpreter.name / "site-packages"
    for folder in (shipped, code / "extra", base):
        folder.mkdir(parents=True)
    for file in (shipped / "both.py", shipped / "only_shipped.py", code / "extra" / "by_pth.py", base / "both.py"):
        file.touch()
    (base / "index.py").touch()
    (base / "more.pth").write_text("/code/extra\n")
    stage.driver.resolve = lambda runtime: Launch(launch.interpreter, shipped)
    try:
        actor = await stage.start(code, "index.imports", environment={"PYTHONUSERBASE": "/code/base", "HOME": "/tmp"})
    finally:
        stage.driver.resolve = resolve
    found = [(await actor.invoke(name)).payload for name in (b"both", b"only_shipped", b"by_pth", b"index")]
    folders = [path.rpartition(b"/")[0] for path in found]
    own = f"/code/base/lib/{launch.interpreter.name}/site-packages".encode()
    assert folders == [own, b"/var/sesame/site-packages", b"/code/extra", b"/code"]
