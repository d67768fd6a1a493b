"""The packages of Node.js: where functions find them, and how those of the cloud's image are installed."""

import asyncio
import base64
import hashlib
import io
import json
import os
import shutil
import tarfile
import threading
from collections.abc import AsyncIterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from tests.runtime.conftest import meta, setup
from tests.support.jails import ISOLATION

from sesame.model.errors import ConfigurationError
from sesame.model.limits import NODE_RUNTIMES
from sesame.model.web_server import WebServer
from sesame.sandbox.interface import Call, KillReason, SandboxDriver, SandboxSpec
from sesame.sandbox.jail.driver import JailDriver, JailOptions
from sesame.sandbox.process.driver import PlainDriver
from sesame.sandbox.runtimes import node_packages, nodes, web_servers
from sesame.sandbox.runtimes.lookup import Runtimes
from sesame.sandbox.runtimes.node_packages import LISTS, LOCKS, NodePackages
from sesame.sandbox.runtimes.site_packages import SitePackages
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


@pytest.mark.parametrize("name", LISTS)
def test_every_lock_pins_each_package_by_version_and_digest(name: str) -> None:
    locked = json.loads((LOCKS / name / "package-lock.json").read_bytes())["packages"]
    for package, version in json.loads((LOCKS / name / "package.json").read_bytes())["dependencies"].items():
        assert locked[f"node_modules/{package}"]["version"] == version
    assert all(entry["integrity"].startswith("sha512-") for path, entry in locked.items() if path)


def test_each_runtime_has_a_list() -> None:
    assert [node_packages.list_of(runtime) for runtime in NODE_RUNTIMES] == [
        "nodejs10", "nodejs10", "nodejs10", "nodejs16", "nodejs16", "nodejs16", "nodejs20", "nodejs20",
    ]  # fmt: skip
    assert {"raw-body", "body", "co", "ali-oss", "aliyun-sdk", "tablestore", "@alicloud/fc2"} <= set(
        node_packages.names("nodejs12")
    )


class Machine:
    """One with programs called npm and node, which do what a test says."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.bin = folder / "bin"
        self.bin.mkdir()
        monkeypatch.setenv("PATH", f"{self.bin}:/usr/bin:/bin")
        self.root = folder / "runtimes"
        self.ran = folder / "ran"
        self.program("node", "exit 0")
        self.program("npm", f'echo "$@" >> {self.ran}; cd "${{@: -1}}" && mkdir -p node_modules/co', "/bin/bash")
        self.packages = NodePackages(self.root, dict.fromkeys(NODE_RUNTIMES, self.bin / "node"))

    def program(self, name: str, script: str, shell: str = "/bin/sh") -> None:
        (self.bin / name).write_text(f"#!{shell}\n{script}\n")
        (self.bin / name).chmod(0o755)

    def left(self) -> list[str]:
        return [str(path) for path in self.root.rglob("*") if path.is_dir() and path.parent != self.root]


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(tmp_path, monkeypatch)


def test_a_list_is_installed_once_by_npm_without_scripts_and_cannot_be_written(machine: Machine) -> None:
    said: list[str] = []
    assert machine.packages.path("nodejs18") is None
    for runtime in ("nodejs18", "nodejs20"):
        machine.packages.install(runtime, said.append)
    (ran,) = machine.ran.read_text().splitlines()
    assert ran.startswith("ci --ignore-scripts ")
    folder = machine.packages.path("nodejs20")
    assert folder is not None
    assert folder == machine.packages.path("nodejs18")
    assert machine.packages.path("nodejs16") is None
    assert (folder / "node_modules").stat().st_mode & 0o777 == 0o555
    manifest = machine.packages.manifest("nodejs20")
    assert manifest is not None
    assert "raw-body@2.5.2" in manifest.packages
    assert said[0] == f"nodejs20: installing {len(manifest.packages)} packages …"
    launch = Runtimes({}, SitePackages(machine.root, {}), {"nodejs20": machine.bin / "node"}).launch("nodejs20")
    assert launch.site_packages == folder


@pytest.mark.parametrize(
    ("program", "script", "why"),
    [
        ("npm", "echo npm error code ENOTFOUND; exit 1", "the registry cannot be reached"),
        ("npm", "echo npm error code EINTEGRITY; exit 1", "not the one that the lock pins"),
        (
            "node",
            "echo \"Error: Cannot find module 'co'\"; exit 1",
            "last lines say why.\n    Error: Cannot find module",
        ),
    ],
)
def test_a_failure_says_why_and_leaves_nothing(machine: Machine, program: str, script: str, why: str) -> None:
    machine.program(program, script)
    with pytest.raises(ConfigurationError) as refused:
        machine.packages.install("nodejs16", lambda _line: None)
    assert why in str(refused.value)
    assert str(refused.value).endswith("Then again: sesame runtimes install nodejs16")
    assert machine.packages.path("nodejs16") is None
    assert machine.left() == []


def test_without_npm_or_node_it_is_said_how_to_get_it(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    (machine.bin / "npm").unlink()
    monkeypatch.setenv("PATH", str(machine.bin))
    with pytest.raises(ConfigurationError, match=r"npm was not found on PATH; install npm, which comes with Node\.js"):
        machine.packages.install("nodejs16", lambda _line: None)
    with pytest.raises(ConfigurationError, match=r"nodejs16 has no Node\.js here: install Node\.js, or name it"):
        NodePackages(machine.root, {}).install("nodejs16", lambda _line: None)


class Registry(BaseHTTPRequestHandler):
    """An npm registry with one package, `shipped`, whose script must not be run."""

    archive = b""

    def do_GET(self) -> None:
        host = f"http://{self.headers['Host']}"
        dist = {"tarball": f"{host}/shipped/-/shipped-1.0.0.tgz", "integrity": digest(self.archive)}
        about = {"name": "shipped", "versions": {"1.0.0": {"name": "shipped", "version": "1.0.0", "dist": dist}}}
        body = self.archive if self.path.endswith(".tgz") else json.dumps(about).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_values: Any) -> None:
        pass


def digest(content: bytes) -> str:
    return "sha512-" + base64.b64encode(hashlib.sha512(content).digest()).decode()


def archive_of(files: dict[str, str]) -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w:gz") as tar:
        for name, text in files.items():
            info = tarfile.TarInfo(f"package/{name}")
            info.size = len(text.encode())
            tar.addfile(info, io.BytesIO(text.encode()))
    return made.getvalue()


@pytest.mark.thorough
@pytest.mark.skipif(shutil.which("npm") is None or not NODES, reason="no npm is found: install Node.js and npm")
def test_npm_installs_what_the_lock_pins_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    about = {"name": "shipped", "version": "1.0.0", "scripts": {"install": f"touch {tmp_path}/ran"}}
    files = {"package.json": json.dumps(about), "index.js": "module.exports = 'shipped';"}
    monkeypatch.setattr(Registry, "archive", archive_of(files))
    wanted = {"name": "list", "version": "1.0.0", "dependencies": {"shipped": "1.0.0"}}
    pinned = {"version": "1.0.0", "integrity": digest(Registry.archive), "hasInstallScript": True}
    lock = {**wanted, "lockfileVersion": 3, "packages": {"": wanted, "node_modules/shipped": pinned}}
    for name in LISTS:
        (tmp_path / "locks" / name).mkdir(parents=True)
        (tmp_path / "locks" / name / "package.json").write_text(json.dumps(wanted))
        (tmp_path / "locks" / name / "package-lock.json").write_text(json.dumps(lock))
    server = ThreadingHTTPServer(("127.0.0.1", 0), Registry)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("npm_config_registry", f"http://127.0.0.1:{server.server_port}/")
    packages = NodePackages(tmp_path / "runtimes", NODES, tmp_path / "locks")
    try:
        for changed in (True, False):
            monkeypatch.setenv("npm_config_cache", str(tmp_path / f"cache-{changed}"))
            with monkeypatch.context() as patch:
                if changed:
                    patch.setattr(Registry, "archive", archive_of({**files, "index.js": "another"}))
                    with pytest.raises(ConfigurationError, match="not the one that the lock pins"):
                        packages.install("nodejs20", lambda _line: None)
                else:
                    packages.install("nodejs20", lambda _line: None)
    finally:
        server.shutdown()
        server.server_close()
    folder = packages.path("nodejs20")
    assert folder is not None
    assert sorted(name for name in os.listdir(folder / "node_modules") if not name.startswith(".")) == ["shipped"]
    assert not (tmp_path / "ran").exists()
