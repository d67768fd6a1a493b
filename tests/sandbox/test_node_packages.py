"""The packages of Node.js: where functions find them, and how those of the cloud's image are installed."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from tests.runtime.conftest import meta, setup
from tests.support.jails import ISOLATION

from sesame.model.web_server import WebServer
from sesame.sandbox.interface import Call, KillReason, SandboxDriver, SandboxSpec
from sesame.sandbox.jail.driver import JailDriver, JailOptions
from sesame.sandbox.process.driver import PlainDriver
from sesame.sandbox.runtimes import nodes, web_servers
from sesame.sandbox.web.setup import Surroundings, web_setup

NODES = nodes.discover({}, {"PATH": "/usr/local/bin:/usr/bin:/bin"})
PATIENCE_S = 60.0
HANDLER = """
const fs = require('fs');
const { execFileSync } = require('child_process');
const found = (name) => { try { return require(name); } catch (error) { return error.code; } };
const tried = (path) => { try { fs.writeFileSync(path, ''); return 'written'; } catch (error) { return error.code; } };
exports.handler = async (event) => ({
  found: Object.fromEntries(['mine', 'layered', 'shipped', 'beside', 'absent'].map((name) => [name, found(name)])),
  written: event.length ? tried(require.resolve('shipped')) : 'not tried',
  inAChild: execFileSync(process.execPath, ['-p', "require('shipped')"]).toString().trim(),
});
"""


def package(folder: Path, name: str, source: str) -> None:
    (folder / "node_modules" / name).mkdir(parents=True)
    (folder / "node_modules" / name / "index.js").write_text(source)


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Stands for what npm installed."""
    folder = tmp_path_factory.mktemp("packages")
    folder.chmod(0o755)
    for name in ("mine", "layered", "shipped"):
        package(folder, name, f"module.exports = 'the runtime has {name}';")
    package(folder, "beside", "module.exports = require('shipped');")
    for path in folder.rglob("*.js"):
        path.chmod(0o444)
    return folder


@pytest_asyncio.fixture(loop_scope="module", scope="module", params=["jail", "plain"])
async def driver(
    request: Any, packages: Path, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[SandboxDriver]:
    if request.param == "jail" and not ISOLATION.possible:
        pytest.skip(f"no jail: {ISOLATION.reason}")
    launch = web_servers.node_launch(next(iter(NODES.values())), "nodejs12", packages)
    state = tmp_path_factory.mktemp("state")
    made: SandboxDriver = PlainDriver(lambda _runtime: launch, state)
    if request.param == "jail":
        made = JailDriver(lambda _runtime: launch, state, JailOptions(ready_resources=0, ready_prewarmed=0))
    await made.open()
    yield made
    await made.close()


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.skipif(not NODES, reason="no Node.js is found: install Node.js")
async def test_packages_are_those_of_the_code_then_of_layers_then_of_the_runtime(
    driver: SandboxDriver, tmp_path: Path, unused_tcp_port: int
) -> None:
    code, layer = tmp_path / "code", tmp_path / "layer"
    package(code, "mine", "module.exports = 'the code has mine';")
    (code / "index.js").write_text(HANDLER)
    package(layer / "nodejs", "mine", "module.exports = 'the layer has mine';")
    package(layer / "nodejs", "layered", "module.exports = 'the layer has layered';")
    spec = SandboxSpec(
        instance_id="packages", runtime="nodejs12", layer_dirs=(layer,), code_dir=code,
        environment={
            "FC_SERVER_PORT": str(unused_tcp_port), "FC_FUNC_CODE_PATH": "/code/", "PATH": "/usr/bin:/bin",
        },
        memory_mb=512, disk_mb=512, web_server=WebServer(port=unused_tcp_port), setup=setup(handler="index.handler"),
    )  # fmt: skip
    # Outside of a jail root could write.
    jailed = driver.name == "jail"
    async with asyncio.timeout(PATIENCE_S):
        sandbox = await driver.create(spec, bytearray().extend, lambda: None)
        try:
            told = json.loads((await sandbox.call(Call("invoke", "r-1", meta(), b"write" if jailed else b""))).payload)
        finally:
            await sandbox.kill(KillReason.DONE)
    assert told["found"] == {
        "mine": "the code has mine", "layered": "the layer has layered", "shipped": "the runtime has shipped",
        "beside": "the runtime has shipped", "absent": "MODULE_NOT_FOUND",
    }  # fmt: skip
    assert told["inAChild"] == "the runtime has shipped"
    assert told["written"] == ("EROFS" if jailed else "not tried")


def test_the_runtimes_own_program_is_where_it_is_installed_even_below_opt() -> None:
    spec = SandboxSpec(
        instance_id="i", runtime="nodejs20", layer_dirs=(), code_dir=Path("/c"), environment={}, memory_mb=128,
        disk_mb=512, web_server=WebServer(), setup={},
    )  # fmt: skip
    launch = web_servers.node_launch(Path("/opt/homebrew/bin/node"), "nodejs20", Path("/opt/sesame/packages"))
    where = Surroundings("/c", "/opt/sesame/runtime", launch.program, "/opt/sesame/packages")
    told = web_setup(spec, where, lambda path: "" if path.startswith("/opt/") else path)
    assert told["command"] == [
        "/opt/homebrew/bin/node", "/opt/sesame/runtime/node/server.js", "20", "/opt/sesame/packages/node_modules",
    ]  # fmt: skip
