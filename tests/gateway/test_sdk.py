"""The official SDK, unmodified, against the door on a real socket, with a fake engine behind it."""

import asyncio
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fc2
import pytest
from tests.gateway.conftest import ACCOUNT_ID, KEY_ID, SECRET, Door, outcome

from sesame.gateway.server import HttpServer
from sesame.model.invocation import FunctionError, Invocation, Outcome


class Client:
    """The SDK blocks: each call runs in a thread, the door in the loop."""

    def __init__(self, server: HttpServer, **changes: str) -> None:
        keys = {"endpoint": server.url, "accessKeyID": KEY_ID, "accessKeySecret": SECRET, **changes}
        self._client = fc2.Client(**keys)

    async def __call__(self, operation: str, *arguments: Any, **options: Any) -> Any:
        return await asyncio.to_thread(getattr(self._client, operation), *arguments, **options)

    async def failure(self, operation: str, *arguments: Any, **options: Any) -> dict[str, Any]:
        with pytest.raises(fc2.FcError) as caught:
            await self(operation, *arguments, **options)
        return {"status": caught.value.status_code, "code": caught.value.err_code, **json.loads(caught.value.message)}


@pytest.fixture
async def client(door: Door, server: HttpServer) -> Client:
    door.now[0] = time.time()
    return Client(server)


@pytest.fixture
def code(tmp_path: Path, zip_of: Callable[..., bytes]) -> str:
    path = tmp_path / "code.zip"
    path.write_bytes(zip_of(index__py="def handler(event, context):\n    return event\n"))
    return str(path)


async def test_the_life_of_a_service_and_a_function(client: Client, code: str) -> None:
    created = await client("create_service", "demo", description="这是测试service")
    assert created.data["description"] == "这是测试service"
    assert (await client("get_service", "demo", qualifier="LATEST")).headers["Etag"] == created.headers["Etag"]
    function = await client("create_function", "demo", "f", "python3", "index.handler", codeZipFile=code)
    assert function.data["timeout"] == 60
    assert function.data["memorySize"] == 256
    assert (await client("list_functions", "demo")).data["functions"] == [function.data]
    link = (await client("get_function_code", "demo", "f")).data
    assert link["checksum"] == function.data["codeChecksum"]
    updated = await client("update_function", "demo", "f", environmentVariables={"A": "1"})
    assert updated.data["environmentVariables"] == {"A": "1"}
    stale = await client.failure("delete_function", "demo", "f", headers={"if-match": function.headers["Etag"]})
    assert (stale["status"], stale["code"]) == (412, "PreconditionFailed")
    await client("delete_function", "demo", "f")
    await client("delete_service", "demo")
    assert (await client.failure("get_service", "demo"))["code"] == "ServiceNotFound"


async def test_calls(client: Client, door: Door) -> None:
    answer = await client("invoke_function", "demo", "f", payload=b"event", qualifier="LATEST")
    assert answer.data == b"event"
    assert answer.headers["Content-Type"] == "application/octet-stream"

    async def fail(_call: Invocation) -> Outcome:
        return outcome(b'{"errorMessage":"no"}', error=FunctionError("UnhandledInvocationError", "unhandled"))

    door.dispatcher.then = fail
    seen = await client.failure("invoke_function", "demo", "f")
    assert seen["status"] == 200
    assert seen["errorMessage"] == "no"
    assert len(seen["RequestId"]) == 36


async def test_other_keys(client: Client, server: HttpServer) -> None:
    assert (await Client(server, accessKeyID="nobody").failure("list_services"))["code"] == "InvalidAccessKeyID"
    assert (await Client(server, accessKeySecret="wrong").failure("list_services"))["code"] == "SignatureNotMatch"
    denied = await client.failure("list_services", headers={"x-fc-account-id": "7"})
    assert (denied["status"], denied["code"]) == (403, "AccessDenied")
    assert (await client("list_services", headers={"x-fc-account-id": ACCOUNT_ID})).data == {"services": []}


async def test_a_signature_over_chinese_names_and_odd_queries(client: Client) -> None:
    page = await client("list_services", prefix="中 文&=+%", limit=5)
    assert page.data == {"services": []}


async def test_resources_of_later_versions_are_refused_in_the_api_s_form(client: Client) -> None:
    seen = await client.failure("list_triggers", "demo", "f")
    assert (seen["status"], seen["code"]) == (400, "PathNotSupported")
