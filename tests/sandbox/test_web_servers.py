"""Functions that are web servers of their own, each in a real instance: calls, starts that fail, deaths."""

import asyncio
import itertools
import json
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from tests.runtime.conftest import FUNCTIONS, meta, setup
from tests.support.jails import jail_only

from sesame.model.errors import StartProblem
from sesame.model.web_server import HealthCheck, WebServer
from sesame.sandbox.interface import (
    NO_ANSWER_IN_TIME,
    Call,
    KillReason,
    ProgramFailed,
    Reply,
    Sandbox,
    SandboxDied,
    SandboxSpec,
)
from sesame.sandbox.jail.driver import JailDriver, JailOptions
from sesame.sandbox.process.driver import PlainDriver
from sesame.sandbox.runtimes import web_servers

SERVER = FUNCTIONS / "custom_server"
PATIENCE_S = 60.0
_numbers = itertools.count(1)

Driver = JailDriver | PlainDriver


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def jail(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[JailDriver]:
    options = JailOptions(ready_resources=0, ready_prewarmed=0)
    driver = JailDriver(lambda _runtime: web_servers.launch(), tmp_path_factory.mktemp("jail"), options)
    await driver.open()
    yield driver
    await driver.close()


class Stage:
    """Starts instances of one driver, and ends those that a test leaves."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver
        self._made: list[Sandbox] = []
        self.output = bytearray()
        self.died = asyncio.Event()

    async def start(self, code: Path = SERVER, server: WebServer | None = None, **variables: str) -> Sandbox:
        server = server or WebServer()
        sandbox = await self._driver.create(
            SandboxSpec(
                instance_id=f"web-{next(_numbers)}", runtime="custom", code_dir=code, layer_dirs=(),
                environment={"FC_SERVER_PORT": str(server.port), "PATH": "/usr/local/bin:/usr/bin:/bin", **variables},
                memory_mb=256, disk_mb=512, setup=setup(), web_server=server,
            ),
            self.output.extend, self.died.set,
        )  # fmt: skip
        self._made.append(sandbox)
        return sandbox

    async def fails(self, code: Path, server: WebServer | None = None) -> ProgramFailed:
        with pytest.raises(ProgramFailed) as caught:
            await self.start(code, server)
        return caught.value

    async def close(self) -> None:
        for sandbox in self._made:
            await sandbox.kill(KillReason.DONE)


@pytest_asyncio.fixture(loop_scope="module")
async def stage(jail: JailDriver) -> AsyncIterator[Stage]:
    made = Stage(jail)
    yield made
    await made.close()


pytestmark = [jail_only, pytest.mark.asyncio(loop_scope="module")]


async def ask(sandbox: Sandbox, event: bytes, kind: str = "invoke", **changes: Any) -> Reply:
    async with asyncio.timeout(PATIENCE_S):
        return await sandbox.call(Call(kind, "r-1", meta(**changes), event))


async def test_events_and_results_are_bodies(stage: Stage) -> None:
    sandbox = await stage.start()
    for event in (b"hello", b"", bytes(range(256)) * 20_000):
        assert await ask(sandbox, event) == Reply(True, b"echo:" + event)
    await ask(sandbox, b"print")
    assert b"printed by the server\n" in stage.output
    assert await ask(sandbox, b"", "load") == Reply(True, b"")


async def test_a_server_is_told_what_the_cloud_tells(stage: Stage) -> None:
    sandbox = await stage.start()
    keys = {"access_key_id": "id", "access_key_secret": "secret", "security_token": "token"}
    headers = json.loads((await ask(sandbox, b"headers", credentials=keys, retry_count=2)).payload)
    expected = {
        "x-fc-request-id": "r-1", "x-fc-control-path": "/invoke", "x-fc-function-name": "fn", "x-fc-retry-count": "2",
        "x-fc-function-handler": "index.handler", "x-fc-function-memory": "128", "x-fc-function-timeout": "3",
        "x-fc-access-key-id": "id", "x-fc-access-key-secret": "secret", "x-fc-security-token": "token",
        "x-fc-region": "cn-shanghai", "x-fc-account-id": "1234567890", "x-fc-service-name": "svc",
        "x-fc-service-logproject": "project", "x-fc-service-logstore": "store", "x-fc-qualifier": "LATEST",
        "x-fc-version-id": "LATEST", "content-type": "application/octet-stream", "host": "127.0.0.1:9000",
    }  # fmt: skip
    assert headers.items() >= expected.items()
    await ask(sandbox, b"", "initialize")
    await ask(sandbox, b"", "pre_freeze")
    await ask(sandbox, b"", "pre_stop")
    seen = json.loads((await ask(sandbox, b"seen")).payload)
    assert seen == ["/invoke", "/initialize", "/pre-freeze", "/pre-stop", "/invoke"]


async def test_a_function_says_by_status_that_it_failed(stage: Stage) -> None:
    sandbox = await stage.start(INIT="fail")
    assert await ask(sandbox, b"fail") == Reply(False, b'{"errorMessage": "said so"}')
    assert await ask(sandbox, b"status") == Reply(False, b"busy")
    unanswered = await ask(sandbox, b"close")
    assert (unanswered.ok, "gave no response" in unanswered.payload.decode()) == (False, True)
    assert (await ask(sandbox, b"on")).ok
    with pytest.raises(SandboxDied, match="initialize was answered 500"):
        await ask(sandbox, b"", "initialize")


async def test_two_instances_listen_on_one_port(stage: Stage) -> None:
    one, other = await stage.start(WHO="one"), await stage.start(WHO="other")
    for sandbox, name in ((one, "one"), (other, "other")):
        assert json.loads((await ask(sandbox, b"environment")).payload)["WHO"] == name


async def test_calls_are_served_side_by_side(stage: Stage) -> None:
    sandbox = await stage.start()
    slow = asyncio.create_task(ask(sandbox, b"sleep 0.3"))
    assert (await ask(sandbox, b"quick")).payload == b"echo:quick"
    assert not slow.done()
    assert (await slow).payload == b"slept"


async def test_a_cancelled_call_leaves_the_others_alone(stage: Stage) -> None:
    sandbox = await stage.start()
    hung = asyncio.create_task(ask(sandbox, b"hang"))
    assert (await ask(sandbox, b"1")).ok
    hung.cancel()
    await asyncio.wait([hung])
    assert (await ask(sandbox, b"2")).ok


async def test_an_end_is_told_to_every_call_and_between_calls(stage: Stage) -> None:
    sandbox = await stage.start()
    calls = [asyncio.create_task(ask(sandbox, event)) for event in (b"hang", b"exit")]
    deaths = await asyncio.gather(*calls, return_exceptions=True)
    assert [str(death) for death in deaths] == ["exit status 3"] * 2
    assert not stage.died.is_set()


@pytest.mark.parametrize("size", [1, 8 * 1024 * 1024])
async def test_an_answer_is_whole_although_the_program_ends_right_after_it(stage: Stage, size: int) -> None:
    sandbox = await stage.start()
    assert (await ask(sandbox, b"last words %d" % size)).payload == b"x" * size
    # No further call finds out: the instance is known to have ended.
    async with asyncio.timeout(PATIENCE_S):
        await stage.died.wait()
    assert sandbox.death is not None


async def test_a_signal_ends_an_instance_as_an_exit_does(stage: Stage) -> None:
    sandbox = await stage.start()
    with pytest.raises(SandboxDied):
        await ask(sandbox, b"signal")


async def test_a_frozen_instance_goes_on(stage: Stage) -> None:
    sandbox = await stage.start()
    for _ in range(2):
        assert (await ask(sandbox, b"x")).ok
        sandbox.freeze()
        sandbox.thaw()
    assert sandbox.memory_peak_mb() > 1


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """One that an instance's user may enter."""
    tmp_path.chmod(0o755)
    return tmp_path


def program(folder: Path, text: str, mode: int = 0o755) -> Path:
    (folder / "bootstrap").write_text(text)
    (folder / "bootstrap").chmod(mode)
    return folder


@pytest.mark.parametrize(
    ("text", "mode", "problem", "said"),
    [
        (None, 0, StartProblem.MISSING, "the file /code/bootstrap is not exist"),
        ("#!/bin/sh\n", 0o644, StartProblem.PERMISSION, "/code/bootstrap may not be executed"),
        ("no program", 0o755, StartProblem.EXITED, "must name its interpreter"),
        (
            "#!/bin/sh\necho out of order; exit 4\n", 0o755, StartProblem.EXITED,
            "exited unexpectedly(code 4, message:exit status 4) with start command '/code/bootstrap'.\n"
            "Logs:\nout of order",
        ),
    ],
)  # fmt: skip
async def test_a_start_that_fails_is_told_with_what_the_program_wrote(
    stage: Stage, folder: Path, text: str | None, mode: int, problem: StartProblem, said: str
) -> None:
    failed = await stage.fails(folder if text is None else program(folder, text, mode))
    assert failed.problem is problem
    assert said in str(failed)


async def test_a_command_its_arguments_and_its_port_are_configured(stage: Stage, folder: Path) -> None:
    shutil.copy(SERVER / "bootstrap", folder / "server.py")
    sandbox = await stage.start(folder, WebServer(("python3", "server.py", "--flag"), port=8080))
    assert (await ask(sandbox, b"x")).payload == b"echo:x"
    failed = await stage.fails(folder, WebServer(("no-such-program",)))
    assert (failed.problem, "no such file" in str(failed)) == (StartProblem.EXITED, True)


async def test_a_health_check_decides_when_a_server_is_ready(stage: Stage) -> None:
    well = HealthCheck("/healthy", period_seconds=1, success_threshold=2)
    sandbox = await stage.start(server=WebServer(health_check=well))
    assert json.loads((await ask(sandbox, b"seen")).payload)[:2] == ["/healthy"] * 2
    sick = HealthCheck("/sick", period_seconds=1, failure_threshold=1)
    failed = await stage.fails(SERVER, WebServer(health_check=sick))
    assert (failed.problem, "GET /sick" in str(failed)) == (StartProblem.UNHEALTHY, True)


async def test_a_server_is_asked_how_it_is_beside_its_calls(stage: Stage) -> None:
    sandbox = await stage.start(server=WebServer(health_check=HealthCheck("/healthy")))
    hung = asyncio.create_task(ask(sandbox, b"hang"))
    assert await ask(sandbox, b"", "health_check") == Reply(True, b"")
    assert (await ask(sandbox, b"sicken")).ok
    assert await ask(sandbox, b"", "health_check") == Reply(False, b"")
    # One that is not answered in time neither ends the instance nor is in the way of a call.
    hung.cancel()
    await asyncio.wait([hung])
    assert (await ask(sandbox, b"x")).payload == b"echo:x"


async def test_a_check_that_is_not_answered_in_time_has_failed(stage: Stage, folder: Path) -> None:
    text = (SERVER / "bootstrap").read_text().replace('"/slow-health"', '"/healthy-once"')
    once = text.replace("            time.sleep(10)\n", "            time.sleep(10 * SEEN.count(self.path) - 10)\n")
    sandbox = await stage.start(program(folder, once), WebServer(health_check=HealthCheck("/healthy-once")))
    assert await ask(sandbox, b"", "health_check") == NO_ANSWER_IN_TIME
    assert (await ask(sandbox, b"x")).payload == b"echo:x"


async def test_without_a_jail_the_port_is_the_machines(tmp_path: Path, unused_tcp_port: int) -> None:
    driver = PlainDriver(lambda _runtime: web_servers.launch(), tmp_path)
    await driver.open()
    stage = Stage(driver)
    try:
        server = WebServer(port=unused_tcp_port)
        sandbox = await stage.start(server=server)
        assert (await ask(sandbox, b"x")).payload == b"echo:x"
        failed = await stage.fails(SERVER, server)
        assert "is in use already" in str(failed)
        with pytest.raises(SandboxDied, match="exit status 3"):
            await ask(sandbox, b"exit")
    finally:
        await stage.close()
        await driver.close()
