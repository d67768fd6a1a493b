"""The settings of container images through the three versions of the API."""

import json
import time
from typing import Any

import pytest
from tests.fc.conftest import Endpoint
from tests.support.sdk_2021 import Client2021
from tests.support.sdk_2023 import Client

from sesame.http.server import HttpServer

IMAGE = "registry.cn-hangzhou.aliyuncs.com/ns/app:v1"
FUNCTION: dict[str, Any] = {"functionName": "f", "runtime": "custom-container", "handler": "h"}
OLD = {
    "image": IMAGE, "command": '["/server", "-v"]', "args": '["--port","8080"]', "accelerationType": "Default",
    "instanceID": "cri-1", "webServerMode": True,
}  # fmt: skip
NEW = {
    "image": IMAGE, "entrypoint": ["/server", "-v"], "command": ["--port", "8080"], "port": 8080,
    "accelerationType": "Default", "acrInstanceId": "cri-1", "healthCheckConfig": {"httpGetUrl": "/up"},
    "registryConfig": {"authConfig": {"userName": "u"}},
}  # fmt: skip


@pytest.fixture
async def old(endpoint: Endpoint, server: HttpServer) -> Client2021:
    endpoint.now[0] = time.time()
    made = Client2021(server.url)
    await made("CreateService", serviceName="s")
    return made


async def created(endpoint: Endpoint, settings: Any, **more: Any) -> Any:
    await endpoint.call("POST", "/services", {"serviceName": "s"})
    body = {**FUNCTION, "customContainerConfig": settings, **more}
    return await endpoint.call("POST", "/services/s/functions", body)


async def test_the_older_versions_have_the_lists_as_they_were_sent(old: Client2021) -> None:
    made = await old("CreateFunction", "s", **FUNCTION, customContainerConfig=OLD)
    assert made.data["customContainerConfig"] == OLD
    assert (await old("GetFunction", "s", "f")).data["customContainerConfig"] == OLD


async def test_2023_03_30(sdk: Client) -> None:
    found = await sdk("create_function", body={**FUNCTION, "customContainerConfig": NEW})
    assert found["customContainerConfig"] == NEW | {"resolvedImageUri": IMAGE}
    assert (await sdk("get_function", "f"))["customContainerConfig"] == NEW | {"resolvedImageUri": IMAGE}
    removed = await sdk("update_function", "f", body={"customContainerConfig": {"image": "other"}})
    assert removed["customContainerConfig"] == {"image": "other", "resolvedImageUri": "other"}


async def test_what_a_version_cannot_say_stays(endpoint: Endpoint) -> None:
    await created(endpoint, OLD | {"webServerMode": False}, caPort=8000)
    path, newer = "/services/s/functions/f", "/2023-03-30/functions/s$f"
    seen = (await endpoint.call("GET", newer, whole_path=True)).json()["customContainerConfig"]
    assert (seen["entrypoint"], seen["command"], seen["port"]) == (["/server", "-v"], ["--port", "8080"], 8000)
    assert seen["acrInstanceId"] == "cri-1"
    settings = {"image": IMAGE, "entrypoint": ["/other"], "port": 8001, "registryConfig": {"a": {}}}
    answer = await endpoint.call("PUT", newer, {"customContainerConfig": settings}, whole_path=True)
    assert answer.status == 200, answer.body
    changed = (await endpoint.call("GET", path)).json()["customContainerConfig"]
    assert changed == {"image": IMAGE, "command": '["/other"]', "webServerMode": False}
    await endpoint.call("PUT", path, {"customContainerConfig": {"image": "b"}})
    seen = (await endpoint.call("GET", newer, whole_path=True)).json()["customContainerConfig"]
    assert seen == {"image": "b", "port": 8001, "registryConfig": {"a": {}}, "resolvedImageUri": "b"}


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({}, "CustomContainerConfig.Image is required"),
        ({"command": "[]"}, "CustomContainerConfig.Image is required"),
        ({"image": 5}, "CustomContainerConfig.Image is set to an invalid value (allowed: string, actual: '5')"),
        ({"image": "a b"}, "text that matches"),
        ({"image": "x" * 1025}, "1024"),
        ({"image": "a", "command": "/server"}, "the JSON text of a list of texts"),
        ({"image": "a", "args": "[" * 100_000}, "the JSON text of a list of texts"),
        ({"image": "a", "command": "[1]"}, "Entrypoint[0] is set to an invalid value (allowed: string"),
        ({"image": "a", "args": '["a\\u0000"]'}, "text that matches"),
        ({"image": "a", "args": json.dumps(["a"] * 65)}, "64"),
    ],
)
async def test_settings_that_no_image_has_are_refused(endpoint: Endpoint, settings: Any, said: str) -> None:
    answer = await created(endpoint, settings)
    assert (answer.status, answer.json()["ErrorCode"]) == (400, "InvalidArgument"), answer.body
    assert said in answer.json()["ErrorMessage"], answer.body


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"image": IMAGE, "port": 70_000}, "65535"),
        ({"image": IMAGE, "entrypoint": "/server"}, "Entrypoint is set to an invalid value (allowed: array"),
        ({"image": IMAGE, "entrypoint": [""]}, "Entrypoint is set to an invalid value (allowed: a program"),
    ],
)
async def test_settings_of_2023_03_30_that_no_image_has_are_refused(sdk: Client, settings: Any, said: str) -> None:
    body = {**FUNCTION, "customContainerConfig": settings}
    status, code, text = await sdk.failure("create_function", body=body)
    assert (status, code, said in text) == (400, "InvalidArgument", True), text
