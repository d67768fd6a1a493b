"""The Node.js runtimes: events, results, failures, initializer, requests of the web, under the Node.js found here."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from tests.runtime.conftest import FUNCTIONS, meta, setup
from tests.support.jails import ISOLATION

from sesame.model.errors import ConfigurationError
from sesame.model.web_server import WebServer
from sesame.sandbox.interface import Call, KillReason, Reply, Sandbox, SandboxDriver, SandboxSpec
from sesame.sandbox.jail.driver import JailDriver, JailOptions
from sesame.sandbox.process.driver import PlainDriver
from sesame.sandbox.runtimes import nodes, web_servers

NODES = nodes.discover({}, {"PATH": "/usr/local/bin:/usr/bin:/bin"})
PATIENCE_S = 60.0
needs_node = pytest.mark.skipif(not NODES, reason="no Node.js is found: install Node.js")


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def driver(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[SandboxDriver]:
    launch = web_servers.node_launch(next(iter(NODES.values())), "nodejs12")
    state = tmp_path_factory.mktemp("state")
    made: SandboxDriver = PlainDriver(lambda _runtime: launch, state)
    if ISOLATION.possible:
        made = JailDriver(lambda _runtime: launch, state, JailOptions(ready_resources=0, ready_prewarmed=0))
    await made.open()
    yield made
    await made.close()


class Running:
    def __init__(self, sandbox: Sandbox, output: bytearray) -> None:
        self.sandbox = sandbox
        self.output = output

    async def __call__(self, event: bytes = b"", kind: str = "invoke", **changes: Any) -> Reply:
        async with asyncio.timeout(PATIENCE_S):
            return await self.sandbox.call(Call(kind, "r-1", meta(**changes), event))


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def running(driver: SandboxDriver, unused_tcp_port_factory: Any) -> AsyncIterator[Any]:
    """Starts an instance of a handler, once for each."""
    made: dict[str, Running] = {}

    async def start(handler: str) -> Running:
        if handler not in made:
            port, output = unused_tcp_port_factory(), bytearray()
            spec = SandboxSpec(
                instance_id=f"node-{len(made)}", runtime="nodejs12", layer_dirs=(),
                code_dir=FUNCTIONS / "node_handlers",
                environment={"FC_SERVER_PORT": str(port), "FC_FUNC_CODE_PATH": "/code/", "PATH": "/usr/bin:/bin"},
                memory_mb=512, disk_mb=512, web_server=WebServer(port=port),
                setup=setup(handler=handler, initializer="index.initializer"),
            )  # fmt: skip
            made[handler] = Running(await driver.create(spec, output.extend, lambda: None), output)
        return made[handler]

    yield start
    for one in made.values():
        await one.sandbox.kill(KillReason.DONE)


pytestmark = pytest.mark.asyncio(loop_scope="module")


@needs_node
async def test_results_are_told_as_the_cloud_does(running: Any) -> None:
    call = await running("index.handler")
    assert (await call(b"plain \xff")).payload == b"plain \xff"
    for event, result in (
        (b"text", b"text"), (b"bytes", b"\x00\xff"), (b"object", '{"b":1,"a":"你"}'.encode()), (b"nothing", b""),
    ):  # fmt: skip
        assert await call(event) == Reply(True, result)
    await call(b"", "initialize")
    assert (await call(b"initialized")).payload == b"1"
    assert b" r-1 [verbose] asked for text\n" in call.output
    assert b"Runtime nodejs12 runs on Node.js " in call.output


@needs_node
async def test_the_context_has_the_clouds_names(running: Any) -> None:
    call = await running("index.handler")
    keys = {"access_key_id": "id", "access_key_secret": "secret", "security_token": "token"}
    context = json.loads((await call(b"context", credentials=keys)).payload)
    assert context["requestId"] == "r-1"
    assert context["credentials"] == {"accessKeyId": "id", "accessKeySecret": "secret", "securityToken": "token"}
    assert context["function"] == {
        "name": "fn", "handler": "index.handler", "memory": 128, "timeout": 3, "initializer": "index.initializer",
        "initializationTimeout": 3,
    }  # fmt: skip
    assert context["service"]["name"] == "svc"
    assert (context["region"], context["accountId"]) == ("cn-shanghai", "1234567890")


@needs_node
async def test_failures_are_told_by_how_they_came(running: Any) -> None:
    call = await running("index.handler")
    thrown = await call(b"thrown")
    told = json.loads(thrown.payload)
    assert (thrown.ok, thrown.handled, told["errorMessage"], told["errorType"]) == (
        False, False, "out of range", "RangeError",
    )  # fmt: skip
    assert "index.js" in told["stackTrace"][0]
    assert not any("server.js" in line for line in told["stackTrace"])
    handled = await call(b"handled")
    assert (handled.handled, json.loads(handled.payload)["errorType"]) == (True, "TypeError")
    assert json.loads((await call(b"word")).payload)["errorMessage"] == "just a word"
    for event, message in (
        (b"circle", "[Circular"), (b"big", "10n"), (b"message", "{ big: 10n }"),
        (b"bigResult", "Do not know how to serialize a BigInt"),
    ):  # fmt: skip
        failed = await call(event)
        assert (failed.ok, message in json.loads(failed.payload)["errorMessage"]) == (False, True)


@needs_node
async def test_promises_are_awaited(running: Any) -> None:
    call = await running("index.later")
    assert (await call(b"x")).payload == b"later x r-1"
    assert json.loads((await call(b"fail")).payload)["errorMessage"] == "later"


@needs_node
@pytest.mark.parametrize(
    ("handler", "kind", "message"),
    [
        ("nodot", "InvalidHandleName", "Invalid handler 'nodot'"),
        ("index.missing", "HandlerNotFound", "Handler 'missing' is missing on module 'index'"),
        ("absent.handler", "ImportModuleError", "Unable to import module 'absent'"),
    ],
)
async def test_what_cannot_be_loaded_is_told(running: Any, handler: str, kind: str, message: str) -> None:
    failed = await (await running(handler))()
    told = json.loads(failed.payload)
    assert (failed.ok, told["errorType"], told["errorMessage"]) == (False, kind, message)
    if kind == "ImportModuleError":
        assert told["stackTrace"][0].startswith("Error: there is no ")


@needs_node
async def test_a_package_that_a_module_imports_and_that_is_missing_is_named(running: Any) -> None:
    told = json.loads((await (await running("module.handler"))()).payload)
    assert told["stackTrace"][0].startswith("Error: Cannot find package 'no-such-package'")


@needs_node
async def test_requests_of_the_web_have_a_handler_of_their_own(running: Any) -> None:
    call = await running("index.web")
    params = {"method": "PUT", "path": "/a b", "query": "x=1&x=2&y=3", "headers": [["x-own", "1"]]}
    reply = await call(b"body", http_params=params)
    assert json.loads(reply.payload) == {
        "method": "PUT", "path": "/a b", "queries": {"x": ["1", "2"], "y": "3"}, "body": "body", "name": "fn",
    }  # fmt: skip
    assert reply.http is not None
    assert reply.http["status"] == 201
    assert ["X-Own", "mine"] in reply.http["headers"]
    params = {"method": "GET", "path": "//a/b", "query": "constructor=1&__proto__=2", "headers": []}
    told = json.loads((await call(b"", http_params=params)).payload)
    assert (told["path"], told["queries"]) == ("//a/b", {"constructor": "1", "__proto__": "2"})


@needs_node
@pytest.mark.parametrize(
    ("handler", "result"),
    [
        *((name, b"called") for name in ("withDefault", "withDefaults", "withRest", "withArguments", "commented")),
        ("alone", b""), ("bare", b"bare"), ("without", b"without"), ("two", b"two"),
        ("countsArguments", b"3 in all"),
    ],
)  # fmt: skip
async def test_a_callback_is_waited_for_by_those_that_take_one(running: Any, handler: str, result: bytes) -> None:
    assert await (await running(f"index.{handler}"))(b"x") == Reply(True, result)


class Response:
    """What becomes of a response that passes through, of a GET without a body."""

    method, target, messages, length = "GET", b"/", None, 0

    def __init__(self) -> None:
        self.headers: list[tuple[bytes, bytes]] = []
        self.begun: list[Any] = []
        self.body = b""

    def whole_body(self) -> bytes:
        return b""

    async def receive(self) -> bytes:
        return b""

    def begin(self, status: int, headers: Any) -> None:
        self.begun.append(status)

    async def send(self, piece: bytes, *, last: bool) -> None:
        self.body += piece


@needs_node
@pytest.mark.parametrize(("handler", "error"), [("throws", "RangeError"), ("rejects", "TypeError")])
async def test_an_error_of_a_handler_of_the_web_is_no_response_of_it(running: Any, handler: str, error: str) -> None:
    call, response = await running(f"index.{handler}"), Response()
    async with asyncio.timeout(PATIENCE_S):
        reply = await call.sandbox.call(Call("invoke", "r-1", meta(), stream=response))
    assert (reply.ok, response.begun, json.loads(reply.payload)["errorType"]) == (False, [], error)
    params = {"method": "GET", "path": "/", "query": "", "headers": []}
    kept = await call(b"", http_params=params)
    assert (kept.ok, json.loads(kept.payload)["errorType"]) == (False, error)
    assert "X-Own" not in [name for name, _value in (kept.http or {"headers": []})["headers"]]


@needs_node
async def test_the_address_of_the_client_is_what_the_endpoint_saw(running: Any) -> None:
    call = await running("index.client")
    said = [["x-forwarded-for", "203.0.113.9"]]
    params = {"method": "GET", "path": "/", "query": "", "headers": said, "client_ip": "192.0.2.7", "scheme": "https"}
    assert json.loads((await call(b"", http_params=params)).payload) == ["192.0.2.7", "https"]


async def test_a_node_is_found_on_path_or_named(tmp_path: Path) -> None:
    for name in ("node", "node18"):
        (tmp_path / name).write_text("#!/bin/sh\necho v18.1.2\n")
        (tmp_path / name).chmod(0o755)
    found = nodes.discover({}, {"PATH": str(tmp_path)})
    assert (found["nodejs18"], found["nodejs20"]) == (tmp_path / "node18", tmp_path / "node")
    assert nodes.version_of(found["nodejs18"]) == "18.1.2"
    assert nodes.discover({}, {"PATH": "/nowhere"}) == {}
    assert nodes.discover({"nodejs20": tmp_path / "node18"}, {"PATH": "/nowhere"}) == {"nodejs20": tmp_path / "node18"}
    with pytest.raises(ConfigurationError, match="nodejs20 is set to /nowhere, which is no program"):
        nodes.discover({"nodejs20": Path("/nowhere")}, {})
