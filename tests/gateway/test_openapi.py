"""The table of operations, and what is made from it: routes, permissions, the description, the compatibility page."""

import importlib.util
import json
import re
from pathlib import Path
from typing import Any

import pytest
from tests.gateway.conftest import Door, asgi, scope

from sesame.gateway import openapi
from sesame.gateway.operations import OPERATIONS
from sesame.gateway.permissions import action_and_resource

ROOT = Path(__file__).parents[2]


def test_names_and_places_are_given_once() -> None:
    assert len({each.name for each in OPERATIONS}) == len(OPERATIONS)
    assert len({(each.method, re.sub("{[^}]*}", "*", each.path)) for each in OPERATIONS}) == len(OPERATIONS)


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda each: each.name)
def test_each_operation_needs_its_own_permission(operation: Any) -> None:
    path = re.sub("{[^}]*}", "x", operation.route).encode()
    asked = action_and_resource(operation.method, path)
    assert asked is not None
    assert asked[0] == "fc:" + operation.name


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda each: each.name)
async def test_each_operation_is_routed_and_refuses_strangers(door: Door, operation: Any) -> None:
    path = re.sub("{[^}]*}", "x", operation.path)
    stranger = await door.call(operation.method, path, sign=False)
    assert stranger.json()["ErrorCode"] == "MissingRequiredHeader"
    answer = await door.call(operation.method, path)
    assert answer.status < 500
    assert b"PathNotSupported" not in answer.body


async def test_paths_that_are_nobody_s(door: Door) -> None:
    for path in ("/", "*", "/openapi.json/x", "/%ff", "/中", "/sesame"):
        request = scope("GET", "/", {"host": "h"})
        request["raw_path"] = path.encode()
        answer = await asgi(door.gateway, request, [b""])
        assert (answer.status, answer.json()["ErrorCode"]) == (400, "PathNotSupported")


async def test_the_description_is_served_to_everyone(door: Door) -> None:
    answer = await door.call("GET", "/openapi.json", headers={"host": "h"}, sign=False, whole_path=True)
    assert (answer.status, answer.headers["Content-Type"]) == (200, "application/json")
    assert answer.json() == json.loads(json.dumps(openapi.document()))


def test_the_description_is_whole() -> None:
    document = openapi.document()
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


def test_the_compatibility_page_says_what_the_table_says() -> None:
    spec = importlib.util.spec_from_file_location("compatibility", ROOT / "scripts" / "compatibility.py")
    assert spec is not None
    assert spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    assert script.page() == script.PAGE.read_text(), "run `python scripts/compatibility.py`"
    assert "| none |" not in script.table()
