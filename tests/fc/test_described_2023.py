"""Each field and parameter that the description of 2023-03-30 names, sent with what it is not: never 5xx."""

import json
import re
from typing import Any

import msgspec
import pytest
from tests.fc.conftest import NOW, Endpoint
from tests.support.sdk_2023 import Client, made

from sesame.fc import openapi
from sesame.fc.operations import INVOKE, Operation
from sesame.fc.v2023.operations import OPERATIONS
from sesame.fc.v2023.version import VERSION

ODD: tuple[Any, ...] = ([], {}, "$odd", -1, True, [{"a": [None]}], "x" * 300)
ODD_TEXTS = ("", "$odd", "-1", "[1", '{"a":1}', "x" * 300)
FUNCTION = {"CreateFunction": made("other"), "UpdateFunction": {}}
# Each of these would take away what the others need.
LAST = {"DeleteFunction"}


def path_of(operation: Operation) -> str:
    names = {"function": "f"}
    return re.sub(r"{([^}]*)}", lambda part: names.get(part[1], "none"), operation.route)


@pytest.mark.parametrize("operation", [each for each in OPERATIONS if each.takes], ids=lambda each: str(each.name))
async def test_fields(sdk_of_f: Client, endpoint: Endpoint, operation: Operation) -> None:
    assert operation.takes is not None
    endpoint.now[0] = NOW
    for field in msgspec.structs.fields(operation.takes):
        for value in ODD:
            body = {**FUNCTION.get(operation.name, {}), field.encode_name: value}
            answer = await endpoint.call(operation.method, path_of(operation), body, whole_path=True)
            assert answer.status < 500, (field.name, value, answer.body)
            assert answer.status != 403, answer.body
            if answer.status >= 400:
                assert set(answer.json()) == {"RequestId", "Code", "Message"}
            if operation.name == "CreateFunction":
                await endpoint.call("DELETE", "/2023-03-30/functions/other", whole_path=True)
    for odd in (b"[]", b"{", b"null", b"\xff"):
        answer = await endpoint.call(operation.method, path_of(operation), odd, whole_path=True)
        assert answer.status < 500, odd


async def test_parameters(sdk_of_f: Client, endpoint: Endpoint) -> None:
    endpoint.now[0] = NOW
    for operation in (each for each in OPERATIONS if not each.takes and each.name not in (INVOKE, *LAST)):
        for item in (*operation.query, "qualifier"):
            for text in ODD_TEXTS:
                path = f"{path_of(operation)}?{item}={text}"
                answer = await endpoint.call(operation.method, path, whole_path=True)
                assert answer.status < 500, (path, answer.body)


def test_the_description_is_whole() -> None:
    document = openapi.document(VERSION)
    assert json.dumps(document)
    described = {each["operationId"] for path in document["paths"].values() for each in path.values()}
    assert described == {each.name for each in OPERATIONS}
    assert document["components"]["schemas"]["Body"]["required"] == ["RequestId", "Code", "Message"]
