"""A real debug client stops a function in its sandbox: by a breakpoint and by `breakpoint()`, under old and new Python.

Run by pytest, in the strongest sandbox of this machine.
"""

import asyncio
import io
import json
import os
import subprocess
import sys
import threading
import zipfile
from base64 import b64encode
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from tests.support.dap import DapClient
from tests.support.interpreters import DEBUGGERS, INTERPRETERS

from sesame.app import Sesame
from sesame.cli.client import Client
from sesame.cli.server import Key, Server
from sesame.dev.debug_bridge import DebugBridge
from sesame.model.invocation import Target
from sesame.settings import Settings

pytestmark = pytest.mark.asyncio(loop_scope="module")

PATIENCE_S = 120.0
SOURCE = """
import pdb

def handler(event, context):
    price = 3
    total = price * 14
    return str(total)

def stops(event, context):
    number = 42
    pdb.set_trace()
    return str(number)
"""
LINE = 6
RUNTIMES = ("python2.7", "python3", "python3.12")


def debugged(runtime: str) -> Any:
    if runtime not in INTERPRETERS:
        return pytest.param(runtime, marks=pytest.mark.skip(f"no interpreter for {runtime}"))
    if not DEBUGGERS.installed(runtime):
        return pytest.param(runtime, marks=pytest.mark.skip(f"the debugger of {runtime} is not installed"))
    return runtime


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def sesame(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Sesame]:
    data_dir = tmp_path_factory.mktemp("debug") / "data"
    running = Sesame(Settings(port=0, oss_port=0, data_dir=data_dir), debuggable=True)
    await running.start()
    yield running
    await running.stop()


def client_of(sesame: Sesame) -> Client:
    keys = sesame.data_dir.credentials()
    key = Key(keys.access_key_id, keys.access_key_secret, "the test", account_id=keys.account_id)
    return Client(Server(sesame.endpoints.fc, "the test", key))


def deploy(client: Client, name: str, runtime: str, handler: str) -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("main.py", SOURCE)
    code = {"zipFile": b64encode(packed.getvalue()).decode()}
    document = {"functionName": name, "runtime": runtime, "handler": handler, "code": code, "timeout": 3}
    client.ask("POST", "/services/demo/functions", document)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def client(sesame: Sesame) -> Client:
    made = client_of(sesame)
    await asyncio.to_thread(made.ask, "POST", "/services", {"serviceName": "demo"})
    return made


@pytest.mark.parametrize("runtime", [debugged(runtime) for runtime in RUNTIMES])
async def test_a_breakpoint_stops_the_function_in_its_sandbox(
    sesame: Sesame, client: Client, runtime: str, tmp_path: Path
) -> None:
    name = f"break-{runtime.replace('.', '-')}"
    await asyncio.to_thread(deploy, client, name, runtime, "main.handler")
    target = Target("demo", "LATEST", name)
    debugging = await sesame.debug(target)
    code = (await debugging.start(target)).code
    bridge = DebugBridge(lambda: debugging.connect(target), lambda _line: None)
    port = await bridge.listen(0)

    def debug() -> tuple[str, int, str]:
        debugger = DapClient(port)
        local = str(tmp_path / "main.py")
        debugger.attach({str(tmp_path): code}, {local: [LINE]})
        asyncio.run_coroutine_threadsafe(calling(), loop)
        stopped = debugger.event("stopped")
        frames = debugger.ask("stackTrace", {"threadId": stopped["threadId"]})["stackFrames"]
        scopes = debugger.ask("scopes", {"frameId": frames[0]["id"]})["scopes"]
        variables = debugger.ask("variables", {"variablesReference": scopes[0]["variablesReference"]})["variables"]
        debugger.ask("continue", {"threadId": stopped["threadId"]})
        debugger.close()
        values = {each["name"]: each["value"] for each in variables}
        return frames[0]["source"]["path"], frames[0]["line"], values["price"]

    loop = asyncio.get_running_loop()
    answer = loop.create_future()

    async def calling() -> None:
        done = await asyncio.to_thread(client.invoke, "demo", name, b"", timeout_s=PATIENCE_S)
        answer.set_result(done.body)

    (tmp_path / "main.py").write_text(SOURCE)
    async with asyncio.timeout(PATIENCE_S):
        assert await asyncio.to_thread(debug) == (str(tmp_path / "main.py"), LINE, "3")
        assert await answer == b"42"
    await bridge.close()


async def test_breakpoint_stops_for_an_attached_debugger_and_a_second_one_is_turned_away(
    sesame: Sesame, client: Client, tmp_path: Path
) -> None:
    runtime = next(runtime for runtime in reversed(RUNTIMES) if runtime in INTERPRETERS)
    if not DEBUGGERS.installed(runtime):
        pytest.skip(f"the debugger of {runtime} is not installed")
    await asyncio.to_thread(deploy, client, "stops", runtime, "main.stops")
    target = Target("demo", "LATEST", "stops")
    debugging = await sesame.debug(target)
    said: list[str] = []
    bridge = DebugBridge(lambda: debugging.connect(target), said.append)
    port = await bridge.listen(0)

    def debug() -> int:
        debugger = DapClient(port)
        debugger.attach({str(tmp_path): "/code"}, {})
        second = DapClient(port)
        with pytest.raises((AssertionError, OSError)):
            second.ask("initialize", {"adapterID": "sesame"})
        second.close()
        answer = asyncio.run_coroutine_threadsafe(calling(), loop)
        stopped = debugger.event("stopped")
        frames = debugger.ask("stackTrace", {"threadId": stopped["threadId"]})["stackFrames"]
        debugger.ask("continue", {"threadId": stopped["threadId"]})
        assert answer.result(PATIENCE_S) == b"42"
        debugger.close()
        return int(frames[0]["line"])

    async def calling() -> bytes:
        return (await asyncio.to_thread(client.invoke, "demo", "stops", b"", timeout_s=PATIENCE_S)).body

    loop = asyncio.get_running_loop()
    async with asyncio.timeout(PATIENCE_S):
        assert await asyncio.to_thread(debug) in (12, 13)
    await bridge.close()
    assert any("refused" in line for line in said)
    # Without a debugger it goes on.
    assert await calling() == b"42"


async def test_a_local_handler_waits_for_its_debugger_and_is_called_under_it(tmp_path: Path) -> None:
    """Through `sesame invoke --debug` as a process of its own, which ends with the answer."""
    runtime = next((each for each in INTERPRETERS if DEBUGGERS.installed(each)), None)
    if runtime is None:
        pytest.skip("no runtime's debugger is installed")
    (tmp_path / "main.py").write_text(SOURCE)
    environ = {name: value for name, value in os.environ.items() if not name.startswith("SESAME_")}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "sesame", "invoke", "main.handler", "--runtime", runtime, "--debug", "--debug-port", "0",
        "--timeout", "1",
        cwd=tmp_path, env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert process.stderr is not None
    ended = threading.Event()
    try:
        async with asyncio.timeout(PATIENCE_S):
            said = b""
            while b"In VS Code: " not in said:
                line = await process.stderr.readline()
                assert line, said
                said += line

            def debug() -> int:
                (found,) = json.loads((tmp_path / ".vscode" / "launch.json").read_text())["configurations"]
                debugger = DapClient(found["connect"]["port"])
                (mapping,) = found["pathMappings"]
                debugger.attach({str(tmp_path): mapping["remoteRoot"]}, {str(tmp_path / "main.py"): [LINE]})
                stopped = debugger.event("stopped")
                frames = debugger.ask("stackTrace", {"threadId": stopped["threadId"]})["stackFrames"]
                # Its answer may be lost: the process ends with the call.
                debugger.send("continue", {"threadId": stopped["threadId"]})
                ended.wait(PATIENCE_S)
                debugger.close()
                return int(frames[0]["line"])

            debugging = asyncio.create_task(asyncio.to_thread(debug))
            out, _errors = await process.communicate()
            ended.set()
            assert await debugging == LINE
    finally:
        ended.set()
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert (process.returncode, out) == (0, b"42")
