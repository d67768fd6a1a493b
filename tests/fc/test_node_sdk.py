"""The official Node.js SDK, unmodified: asynchronous invocations through its methods."""

import asyncio
import json
import os
import shutil
import time
from pathlib import Path
from typing import Any

import pytest
from tests.fc.conftest import ACCOUNT_ID, Endpoint
from tests.support.sdk import KEY_ID, SECRET, Client

from sesame.http.server import HttpServer

SCRIPT = Path(__file__).with_name("node_sdk.js")
PACKAGE = "node_modules/@alicloud/fc2"
SCRIPT_TIMEOUT_S = 60


@pytest.fixture
def node_path() -> str:
    """Where Node.js finds the SDK."""
    if shutil.which("node") is None:
        pytest.skip("node is not installed")
    folder = Path(os.environ.get("NODE_SDK_DIR", ""))
    if not os.environ.get("NODE_SDK_DIR") or not (folder / PACKAGE).is_dir():
        pytest.skip("the Node.js SDK is not installed: run scripts/node-sdk PATH, and set NODE_SDK_DIR=PATH")
    return str(folder / "node_modules")


async def run(node_path: str, *arguments: str) -> Any:
    child = await asyncio.create_subprocess_exec(
        "node", str(SCRIPT), *arguments,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE, env={**os.environ, "NODE_PATH": node_path},
    )  # fmt: skip
    async with asyncio.timeout(SCRIPT_TIMEOUT_S):
        out, errors = await child.communicate()
    assert child.returncode == 0, errors.decode()
    return json.loads(out)


async def test_asynchronous_invocations(
    endpoint: Endpoint, server: HttpServer, client: Client, code: str, node_path: str
) -> None:
    endpoint.now[0] = float(int(time.time()))
    await client("create_service", "demo")
    await client("create_function", "demo", "f", "python3", "index.handler", codeZipFile=code)
    seen = await run(node_path, server.url, ACCOUNT_ID, KEY_ID, SECRET)
    assert seen["put"] == seen["got"] == seen["configs"]["configs"][0]
    assert seen["put"]["statefulInvocation"] is True
    assert seen["accepted"] == ""
    one = seen["one"]
    assert (one["invocationId"], one["requestId"], one["status"]) == ("job-1", seen["requestId"], "Enqueued")
    assert (one["invocationPayload"], one["events"][0]["status"]) == ("event", "Enqueued")
    assert [each["invocationId"] for each in seen["all"]["invocations"]] == ["run-1", "job-1"]
    assert seen["some"] == {"invocations": [one]}
    assert seen["none"] == {"invocations": None}
    assert seen["functions"] == {"data": [{"serviceName": "demo", "functionName": "f", "qualifier": "LATEST"}]}
    assert (seen["stopped"], seen["after"]) == ("", "Stopped")
    assert (seen["again"]["name"], seen["again"]["code"]) == ("FCInvalidArgumentError", "InvalidArgument")
    assert seen["missing"]["code"] == "StatefulAsyncInvocationNotFound"
    assert "LogType is set to an invalid value (allowed: None, actual: 'Tail')" in seen["tail"]["message"]
    assert seen["gone"]["code"] == "AsyncConfigNotExists"
