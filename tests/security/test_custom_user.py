"""Custom runtimes in the jail of an ordinary user, without cgroups: calls, ports, limits, freezing and ends.

Root can make such a jail too, for itself.
"""

import asyncio
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from tests.runtime.conftest import FUNCTIONS
from tests.support.custom import CustomStage
from tests.support.jails import jail, jail_only

from sesame.model.command import Command
from sesame.model.errors import StartProblem
from sesame.model.web_server import WebServer
from sesame.sandbox.interface import Death, ProgramFailed, SandboxDied
from sesame.sandbox.jail.driver import JailDriver
from sesame.sandbox.jail.isolation import Isolation

pytestmark = [jail_only, pytest.mark.asyncio(loop_scope="module")]

PATIENCE_S = 60
SERVER = "custom_server"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def driver(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[JailDriver]:
    """Of an ordinary user, whoever runs the tests."""
    async with jail(tmp_path_factory.mktemp("jail"), probe=lambda: Isolation("user"), cgroups=False) as made:
        yield made


@pytest_asyncio.fixture(loop_scope="module")
async def stage(driver: JailDriver) -> AsyncIterator[CustomStage]:
    made = CustomStage(driver)
    yield made
    await made.clear()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """One that an instance's user may enter."""
    tmp_path.chmod(0o755)
    return tmp_path


async def test_events_hooks_and_the_environment(stage: CustomStage) -> None:
    program = await stage.start(SERVER, variables={"WHO": "me"})
    assert (await program.invoke(b"", kind="initialize")).ok
    for event in (b"hello", b"", bytes(range(256)) * 20_000):
        assert (await program.invoke(event)).payload == b"echo:" + event
    assert (await program.json(b"environment"))["WHO"] == "me"
    await program.invoke(b"print")
    assert "initializing\nprinted by the server\n" in program.text


async def test_two_instances_listen_on_one_port(stage: CustomStage) -> None:
    one, other = [await stage.start(SERVER, variables={"WHO": name}) for name in ("one", "other")]
    for program, name in ((one, "one"), (other, "other")):
        assert (await program.json(b"environment"))["WHO"] == name


async def test_memory_beyond_its_limit_ends_it(stage: CustomStage) -> None:
    program = await stage.start("attacks", "index.memory_after_result", memory_mb=128)
    await program.invoke(b'{"mb": 400}')
    async with asyncio.timeout(PATIENCE_S):
        await program.died.wait()
    assert program.sandbox.death.reason is Death.OUT_OF_MEMORY


async def test_a_frozen_instance_goes_on(stage: CustomStage) -> None:
    program = await stage.start(SERVER)
    for _ in range(2):
        program.sandbox.freeze()
        program.sandbox.thaw()
        assert (await program.invoke(b"x")).payload == b"echo:x"


async def test_its_ends_are_told(stage: CustomStage) -> None:
    program = await stage.start(SERVER)
    assert (await program.invoke(b"last words 1000000")).payload == b"x" * 1_000_000
    async with asyncio.timeout(PATIENCE_S):
        await program.died.wait()
    program = await stage.start(SERVER)
    with pytest.raises(SandboxDied, match="exit status 3"):
        await program.invoke(b"exit")


async def test_a_start_that_fails_is_told(stage: CustomStage, folder: Path) -> None:
    with pytest.raises(ProgramFailed, match="the file /code/bootstrap is not exist") as missing:
        await stage.start(folder)
    assert missing.value.problem is StartProblem.MISSING
    (folder / "bootstrap").write_text("#!/bin/sh\necho out of order; exit 4\n")
    (folder / "bootstrap").chmod(0o755)
    with pytest.raises(ProgramFailed, match="out of order"):
        await stage.start(folder)


async def test_a_command_and_a_port_are_configured(stage: CustomStage, folder: Path) -> None:
    shutil.copy(FUNCTIONS / SERVER / "bootstrap", folder / "server.py")
    server = WebServer(("python3", "server.py"), port=8080)
    program = await stage.start(folder, web_server=server, variables={"FC_SERVER_PORT": "8080"})
    assert (await program.invoke(b"x")).payload == b"echo:x"


async def test_a_command_runs_beside_it(stage: CustomStage) -> None:
    program = await stage.start(SERVER)
    execution = await program.sandbox.exec(Command(("/bin/sh", "-c", "ls /code; exit 5"), stdin=False))
    said = b""
    async with asyncio.timeout(PATIENCE_S):
        while (piece := await execution.read()) is not None:
            said += piece[1]
        assert (said, await execution.wait()) == (b"bootstrap\n", 5)
    await execution.close()
