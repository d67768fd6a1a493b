"""The table of operations, and what is made from it: routes, permissions, the description, the compatibility page."""

import importlib.util
import json
import re
from pathlib import Path
from typing import Any

import pytest
from tests.fc.conftest import Endpoint, asgi, scope

from sesame.fc import openapi
from sesame.fc.app import VERSIONS
from sesame.fc.auth.actions import Actions
from sesame.fc.v2016.operations import OPERATIONS
from sesame.fc.v2016.version import VERSION

ROOT = Path(__file__).parents[2]
NEEDED = {
    "serviceName": "another",
    "aliasName": "live",
    "versionId": "1",
    "triggerName": "t",
    "triggerType": "http",
    "triggerConfig": {"authType": "anonymous", "methods": ["GET"]},
    "target": 1,
    "maximumInstanceCount": 1,
    "domainName": "there.example.com",
    "resourceArn": "services/s",
    "tags": {"a": "b"},
    "vpcId": "vpc-1",
}


def test_names_and_places_are_given_once() -> None:
    assert len({each.name for each in OPERATIONS}) == len(OPERATIONS)
    assert len({(each.method, re.sub("{[^}]*}", "*", each.route)) for each in OPERATIONS}) == len(OPERATIONS)


def test_each_operation_needs_its_own_permission() -> None:
    actions = Actions(VERSIONS, "cn-hangzhou")
    for version in VERSIONS:
        for operation in version.operations:
            path = re.sub("{[^}]*}", "x", operation.route).encode()
            asked = actions.find(operation.method, path)
            assert asked is not None, operation.name
            assert asked[0] == "fc:" + operation.name


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda each: each.name)
async def test_each_operation_is_routed_and_refuses_strangers(endpoint: Endpoint, operation: Any) -> None:
    path = re.sub("{[^}]*}", "x", operation.route)
    stranger = await endpoint.call(operation.method, path, sign=False, whole_path=True)
    assert stranger.json()["ErrorCode"] == "MissingRequiredHeader"
    answer = await endpoint.call(operation.method, path, whole_path=True)
    assert answer.status < 500
    assert b"PathNotSupported" not in answer.body


async def test_unknown_paths(endpoint: Endpoint) -> None:
    for path in ("/", "*", "/openapi.json/x", "/%ff", "/中", "/sesame"):
        request = scope("GET", "/", {"host": "h"})
        request["raw_path"] = path.encode()
        answer = await asgi(endpoint.gateway, request, [b""])
        assert (answer.status, answer.json()["ErrorCode"]) == (400, "PathNotSupported")


async def test_the_description_is_served_to_everyone(endpoint: Endpoint) -> None:
    answer = await endpoint.call("GET", "/openapi.json", headers={"host": "h"}, sign=False, whole_path=True)
    assert (answer.status, answer.headers["Content-Type"]) == (200, "application/json")
    assert answer.json() == json.loads(json.dumps(openapi.document(VERSION)))


async def test_a_description_is_that_of_a_version(endpoint: Endpoint) -> None:
    for version in VERSIONS:
        path = f"/openapi.json?version={version.name}"
        answer = await endpoint.call("GET", path, headers={"host": "h"}, sign=False, whole_path=True)
        assert version.name in answer.json()["info"]["description"]
    answer = await endpoint.call("GET", "/openapi.json?version=1", headers={"host": "h"}, sign=False, whole_path=True)
    assert (answer.status, answer.json()["ErrorCode"]) == (400, "InvalidArgument")
    assert "allowed: 2016-08-15" in answer.json()["ErrorMessage"]


def test_the_description_is_whole() -> None:
    document = openapi.document(VERSION)
    described = [each["operationId"] for path in document["paths"].values() for each in path.values()]
    assert sorted(described) == sorted(each.name for each in OPERATIONS)
    schemas = document["components"]["schemas"]
    for reference in re.findall(r"'\$ref': '([^']+)'", str(document)):
        assert reference.removeprefix("#/components/schemas/") in schemas
    assert "functionName" in schemas["FunctionInput"]["properties"]
    assert not [name for name in schemas["FunctionInput"]["properties"] if name.startswith(":")]
    for path, methods in document["paths"].items():
        for each in methods.values():
            named = [item["name"] for item in each["parameters"] if item["in"] == "path"]
            assert named == re.findall("{([^}]*)}", path)


WITH_NEEDS = [each for each in OPERATIONS if each.takes is not None and each.needs]


@pytest.mark.parametrize(
    ("operation", "field"),
    [(each, field) for each in WITH_NEEDS for field in each.needs],
    ids=lambda value: getattr(value, "name", value),
)
async def test_what_is_said_to_be_needed_is_refused_without(
    endpoint: Endpoint, function_body: dict[str, Any], operation: Any, field: str
) -> None:
    await endpoint.call("POST", "/services", {"serviceName": "s"})
    await endpoint.call("POST", "/services/s/functions", function_body)
    await endpoint.call("POST", "/services/s/versions", {})
    path = operation.path.format(service="s", function=function_body["functionName"], layer="shared")
    sent = {**NEEDED, **function_body, "functionName": "another"}
    answer = await endpoint.call(
        operation.method, path, {name: sent[name] for name in operation.needs if name != field}
    )
    assert (answer.status, answer.json()["ErrorCode"]) == (400, "InvalidArgument")
    inner = {
        "code": "Either ossBucketName/ossObjectName or zipFile must be set",
        "triggerConfig": "triggerConfig.authType",
    }
    assert answer.json()["ErrorMessage"].lower().startswith(inner.get(field, f"{field} is required").lower())


def bounded() -> list[tuple[str, str, Any]]:
    """Every field of a function that the description bounds, with values beyond the bound."""
    found: list[tuple[str, str, Any]] = []
    for name, schema in openapi.document(VERSION)["components"]["schemas"]["FunctionInput"]["properties"].items():
        for keyword, beyond in (
            ("minimum", lambda low: low - 1),
            ("maximum", lambda high: high * 2),
            ("multipleOf", lambda step: step * 3 + 1),
            ("maxLength", lambda chars: "x" * (chars + 1)),
            ("pattern", lambda _pattern: "1-begins-with-a-digit"),
            ("enum", lambda choices: "cobol" if isinstance(choices[0], str) else choices[0] + 1),
        ):
            if keyword in schema:
                found.append((name, keyword, beyond(schema[keyword])))
    return found


@pytest.mark.parametrize(("field", "keyword", "value"), bounded())
async def test_what_the_description_bounds_is_refused_beyond(
    endpoint: Endpoint, function_body: dict[str, Any], field: str, keyword: str, value: Any
) -> None:
    await endpoint.call("POST", "/services", {"serviceName": "s"})
    answer = await endpoint.call("POST", "/services/s/functions", {**function_body, field: value})
    assert (answer.status, answer.json()["ErrorCode"]) == (400, "InvalidArgument"), keyword
    assert field.lower() in answer.json()["ErrorMessage"].lower()
    assert (await endpoint.call("POST", "/services/s/functions", function_body)).status == 200


def test_as_much_is_bounded_as_ever() -> None:
    assert len(bounded()) >= 20


def test_the_compatibility_page_says_what_the_table_says() -> None:
    spec = importlib.util.spec_from_file_location("compatibility", ROOT / "scripts" / "compatibility.py")
    assert spec is not None
    assert spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    assert script.page() == script.PAGE.read_text(), "run `python scripts/compatibility.py`"
    assert "| none |" not in script.page()
