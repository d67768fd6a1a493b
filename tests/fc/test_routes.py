"""Services and functions through the endpoint: shapes, Etags, lists, links, any spelling of keys."""

import base64
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import pytest
from fastcrc import crc64
from tests.fc.conftest import Endpoint

from sesame.fc.links import VALID_S
from sesame.model.limits import DOCUMENT_BYTES

FUNCTIONS = "/services/demo/functions"


@pytest.fixture
async def demo(endpoint: Endpoint) -> Endpoint:
    assert (await endpoint.call("POST", "/services", {"serviceName": "demo"})).status == 200
    return endpoint


async def test_a_service_as_it_is_answered(endpoint: Endpoint) -> None:
    answer = await endpoint.call("POST", "/services", {"SERVICENAME": "demo", "description": None, "role": ""})
    assert answer.status == 200
    document = answer.json()
    assert len(document.pop("serviceId")) == 36
    created = document.pop("createdTime")
    assert len(created) == 20
    assert created.endswith("Z")
    assert document.pop("lastModifiedTime") == created
    assert document == {
        "serviceName": "demo",
        "description": "",
        "role": "",
        "logConfig": {
            "project": "",
            "logstore": "",
            "enableRequestMetrics": False,
            "enableInstanceMetrics": False,
            "logBeginRule": "None",
        },
        "vpcConfig": {"vpcId": "", "vSwitchIds": [], "securityGroupId": "", "role": ""},
        "internetAccess": True,
        "nasConfig": {"userId": 0, "groupId": 0, "mountPoints": []},
        "tracingConfig": {"type": None, "params": None},
    }
    got = await endpoint.call("GET", "/services/demo.LATEST")
    assert got.json() == answer.json()
    assert got.headers["Etag"] == answer.headers["Etag"]
    assert len(got.headers["Etag"]) == 32


async def test_etag_and_if_match(demo: Endpoint) -> None:
    etag = (await demo.call("GET", "/services/demo")).headers["Etag"]
    changed = await demo.call("PUT", "/services/demo", {"description": "x"}, {"if-match": etag})
    assert changed.status == 200
    assert changed.headers["Etag"] != etag
    stale = await demo.call("PUT", "/services/demo", {"description": "y"}, {"If-Match": etag})
    assert (stale.status, stale.json()["ErrorCode"]) == (412, "PreconditionFailed")
    stale = await demo.call("DELETE", "/services/demo", headers={"if-match": etag})
    assert stale.status == 412
    listed = f'"{etag}", "{changed.headers["Etag"]}"'
    gone = await demo.call("DELETE", "/services/demo", headers={"if-match": listed})
    assert gone.status == 204
    assert gone.body == b""
    assert "Content-Type" not in gone.headers


async def test_a_qualified_service_cannot_be_changed(demo: Endpoint) -> None:
    answer = await demo.call("PUT", "/services/demo.1", {"description": "x"})
    assert (answer.status, answer.json()["ErrorCode"]) == (400, "InvalidArgument")
    assert (await demo.call("PUT", "/services/demo.LATEST", {"description": "x"})).status == 200


async def test_pages_of_services(endpoint: Endpoint) -> None:
    for number in range(10):
        await endpoint.call("POST", "/services", {"serviceName": f"s{number}"})
    seen: list[str] = []
    path, calls = "/services?limit=3", 0
    while True:
        page = (await endpoint.call("GET", path)).json()
        calls += 1
        seen += [service["serviceName"] for service in page["services"]]
        if "nextToken" not in page:
            break
        path = f"/services?limit=3&nextToken={page['nextToken']}"
    assert calls == 4
    assert seen == [f"s{number}" for number in range(10)]
    started = (await endpoint.call("GET", "/services?startKey=s7&prefix=s")).json()["services"]
    assert [service["serviceName"] for service in started] == ["s7", "s8", "s9"]


@pytest.mark.parametrize("limit", ["0", "-1", "101", "x", "1.5", "²", "9" * 30])
async def test_limits_of_lists(endpoint: Endpoint, limit: str) -> None:
    answer = await endpoint.call("GET", f"/services?limit={limit}")
    assert answer.status == 400
    assert answer.json()["ErrorCode"] == "InvalidArgument"
    assert "Limit" in answer.json()["ErrorMessage"]


@pytest.mark.parametrize(
    "path",
    ["/2016-08-15/services/demo/functions/f/instances", "/2023-03-30/functions/f/instances", "/sesame/recordings"],
)
@pytest.mark.parametrize("limit", ["0", "1001"])
async def test_limits_of_lists_with_a_maximum_of_their_own(
    demo: Endpoint, function_body: dict[str, Any], path: str, limit: str
) -> None:
    await demo.call("POST", FUNCTIONS, function_body)
    await demo.call("POST", "/2023-03-30/functions", function_body, whole_path=True)
    answer = await demo.call("GET", f"{path}?limit={limit}", whole_path=True)
    assert answer.status == 400
    assert b"InvalidArgument" in answer.body
    assert b"Limit" in answer.body


async def test_a_function_as_it_is_answered(demo: Endpoint, function_body: dict[str, Any]) -> None:
    answer = await demo.call("POST", FUNCTIONS, function_body, {"content-type": "application/octet-stream"})
    assert answer.status == 200, answer.body
    code = base64.b64decode(function_body["code"]["zipFile"])
    document = answer.json()
    for key in ("functionId", "createdTime", "lastModifiedTime"):
        assert document.pop(key)
    assert document == {
        "functionName": "f",
        "description": "",
        "runtime": "python3",
        "handler": "index.handler",
        "initializer": "",
        "timeout": 3,
        "initializationTimeout": 3,
        "memorySize": 128,
        "codeSize": len(code),
        "codeChecksum": str(crc64.xz(code)),
        "environmentVariables": {},
        "instanceConcurrency": 1,
        "instanceSoftConcurrency": None,
        "instanceType": "e1",
        "instanceLifecycleConfig": None,
        "layers": [],
        "caPort": None,
        "customContainerConfig": None,
        "customRuntimeConfig": None,
        "customHealthCheckConfig": None,
        "customDNS": None,
        "gpuMemorySize": None,
        "cpu": None,
        "diskSize": 512,
    }
    assert (await demo.call("GET", FUNCTIONS + "/f")).json() == answer.json()
    listed = (await demo.call("GET", FUNCTIONS)).json()
    assert listed == {"functions": [answer.json()]}


async def test_a_checksum_that_the_caller_expects(demo: Endpoint, function_body: dict[str, Any]) -> None:
    wrong = await demo.call("POST", FUNCTIONS, function_body, {"x-fc-code-checksum": "1"})
    assert (wrong.status, wrong.json()["ErrorCode"]) == (400, "InvalidArgument")
    checksum = str(crc64.xz(base64.b64decode(function_body["code"]["zipFile"])))
    assert (await demo.call("POST", FUNCTIONS, function_body, {"x-fc-code-checksum": checksum})).status == 200


async def test_the_link_to_code_is_fetched_with_a_plain_get(demo: Endpoint, function_body: dict[str, Any]) -> None:
    created = (await demo.call("POST", FUNCTIONS, function_body)).json()
    answer = (await demo.call("GET", FUNCTIONS + "/f/code", headers={"host": "127.0.0.1"})).json()
    assert answer["checksum"] == created["codeChecksum"]
    url = urlsplit(answer["url"])
    assert url.netloc == "127.0.0.1:9000"
    path = f"{url.path}?{url.query}"
    fetched = await demo.call("GET", path, sign=False, whole_path=True)
    assert fetched.status == 200
    assert fetched.body == base64.b64decode(function_body["code"]["zipFile"])
    assert fetched.headers["X-Oss-Hash-Crc64ecma"] == created["codeChecksum"]
    assert fetched.headers["Content-Type"] == "application/zip"
    forged = await demo.call("GET", path.replace("expires=1", "expires=2"), sign=False, whole_path=True)
    assert (forged.status, forged.json()["ErrorCode"]) == (403, "AccessDenied")
    demo.now[0] += VALID_S + 1
    late = await demo.call("GET", path, sign=False, whole_path=True)
    assert (late.status, late.json()["ErrorCode"]) == (403, "AccessDenied")


async def test_a_function_is_updated_and_deleted(
    demo: Endpoint, function_body: dict[str, Any], zip_of: Callable[..., bytes]
) -> None:
    created = await demo.call("POST", FUNCTIONS, function_body)
    code = base64.b64encode(zip_of(index__py="def handler(e, c): return 2\n")).decode()
    updated = await demo.call("PUT", FUNCTIONS + "/f", {"code": {"zipFile": code}, "Timeout": 10})
    assert updated.status == 200
    assert updated.headers["Etag"] != created.headers["Etag"]
    assert updated.json()["timeout"] == 10
    assert updated.json()["codeChecksum"] != created.json()["codeChecksum"]
    full = await demo.call("DELETE", "/services/demo")
    assert (full.status, full.json()["ErrorCode"]) == (409, "ServiceNotEmpty")
    assert (await demo.call("DELETE", FUNCTIONS + "/f")).status == 204
    gone = await demo.call("GET", FUNCTIONS + "/f")
    assert gone.status == 404
    assert gone.json() == {
        "ErrorCode": "FunctionNotFound",
        "ErrorMessage": "function 'f' does not exist in service 'demo'",
    }


@pytest.mark.parametrize("path", ["/services/a%2Fb", "/services/%E4%B8%AD", "/services/a%20b"])
async def test_escaped_names_are_one_name(endpoint: Endpoint, path: str) -> None:
    answer = await endpoint.call("GET", path)
    assert answer.json()["ErrorCode"] in ("ServiceNotFound", "InvalidArgument")


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b"{", "the request body is not valid JSON"),
        (b"[1]", "the request body is set to an invalid value (allowed: a JSON object, actual: '[1]')"),
        (b'{"timeout":"x"}', "Timeout is set to an invalid value (allowed: integer, actual: '\"x\"')"),
        (b"{}", "FunctionName is required but not provided"),
    ],
)
async def test_bodies_that_are_refused(demo: Endpoint, body: bytes, text: str) -> None:
    answer = await demo.call("POST", FUNCTIONS, body)
    assert answer.status == 400
    assert answer.json()["ErrorCode"] == "InvalidArgument"
    assert answer.json()["ErrorMessage"].startswith(text)


async def test_a_management_body_over_the_limit(demo: Endpoint) -> None:
    answer = await demo.call("POST", FUNCTIONS, b"", {"content-length": str(1 << 40)})
    assert answer.json()["ErrorCode"] == "EntityTooLarge"


async def test_a_body_that_holds_no_code_has_a_smaller_limit(demo: Endpoint) -> None:
    large = {"domainName": "a.com", "wafConfig": {"a": "x" * DOCUMENT_BYTES}}
    answer = await demo.call("POST", "/custom-domains", large)
    assert answer.json()["ErrorMessage"] == f"payload size exceeds maximum allowed size ({DOCUMENT_BYTES} bytes)"


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/services/a%00b"),
        ("PUT", "/services/demo/functions/f%00/on-demand-config"),
        ("GET", "/layers/x/versions/1%00"),
        ("GET", "/services?prefix=%00"),
        ("GET", "/services?tag_a=b%00"),
        ("POST", "/services/demo/functions/f%00/invocations"),
        ("GET", "/proxy/demo%00/f/"),
    ],
)
async def test_nul_characters_in_paths_and_queries_are_refused(demo: Endpoint, method: str, path: str) -> None:
    answer = await demo.call(method, path)
    assert (answer.status, answer.json()["ErrorCode"]) == (400, "InvalidArgument")
    assert "text without NUL characters" in answer.json()["ErrorMessage"]
