"""The functions of the manual, character by character, under every runtime found (reference/runtime.md §3-§6)."""

import json
import uuid
from typing import Any

import fc2
import pytest
from tests.journeys.conftest import ACCOUNT_ID, EVERY_RUNTIME, REGION, Deploy
from tests.support.signer import Api

pytestmark = EVERY_RUNTIME


def test_hello_world(deploy: Deploy) -> None:
    call = deploy("manual", handler="hello.my_handler")
    assert call().data == b"hello world"
    assert call(b"anything \x00\xff").data == b"hello world"


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        ('{"key": "value"}', "value"),
        ('{"key": "中文"}', "中文"),
        ('{"key": ""}', ""),
        ('{"key": 7}', "7"),
        ('{"key": null}', "null"),
        ('{"other": 1, "key": {"b": [], "a": 1}}', '{\n    "a": 1,\n    "b": []\n}'),
    ],
)
def test_the_json_event(deploy: Deploy, event: str, expected: str) -> None:
    assert deploy("manual", handler="event.my_handler")(event.encode()).data.decode() == expected


def test_what_the_caller_sees_of_a_missing_key(deploy: Deploy, service: str, api: Api) -> None:
    call = deploy("manual", handler="event.my_handler")
    before = call(b'{"key": "value"}')
    answer = api.invoke(service, "manual", "{}")
    assert answer.status_code == 200
    assert answer.headers["X-Fc-Error-Type"] == "UnhandledInvocationError"
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.json() == {
        "errorMessage": "'key'",
        "errorType": "KeyError",
        "stackTrace": [['File "/code/event.py"', "line 5", "in my_handler", "return evt['key']"]],
    }
    assert answer.text == json.dumps(answer.json(), indent=4, sort_keys=True)
    after = call(b'{"key": "value"}')
    assert after.headers["X-Fc-Instance-Id"] == before.headers["X-Fc-Instance-Id"]
    with pytest.raises(fc2.FcError) as caught:
        call(b"{}")
    assert (caught.value.status_code, json.loads(caught.value.message)["errorType"]) == (200, "KeyError")
    assert len(json.loads(caught.value.message)["RequestId"]) == 36


def test_an_event_that_is_no_json(deploy: Deploy, service: str, api: Api, runtime: str) -> None:
    deploy("manual", handler="event.my_handler")
    seen = api.invoke(service, "manual", b"").json()
    assert seen["errorType"] == ("ValueError" if runtime == "python2.7" else "JSONDecodeError")
    assert seen["stackTrace"][0] == ['File "/code/event.py"', "line 4", "in my_handler", "evt = json.loads(event)"]


def test_the_whole_context(deploy: Deploy, client: fc2.Client, service: str) -> None:
    client.update_service(service, logConfig={"project": "my-project", "logstore": "my-store"})
    mine = str(uuid.uuid4())
    call = deploy("manual", handler="whole.my_handler", initializer="whole.my_initializer", initializationTimeout=7)
    answer = call(b"", x_fc_trace_id=mine)
    assert json.loads(answer.data) == context_of(service, request_id=mine)
    assert answer.headers["X-Fc-Request-Id"] == mine


def test_the_context_of_versions_and_aliases(deploy: Deploy, client: fc2.Client, service: str) -> None:
    deploy("manual", handler="whole.my_handler", initializer="whole.my_initializer", initializationTimeout=7)
    version = client.publish_version(service, "first").data["versionId"]
    client.create_alias(service, "prod", version)
    for qualifier in ("LATEST", version, "prod"):
        answer = client.invoke_function(service, "manual", qualifier=qualifier)
        expected = context_of(service, request_id=answer.headers["X-Fc-Request-Id"])
        expected["service"]["qualifier"] = qualifier
        expected["service"]["version_id"] = "LATEST" if qualifier == "LATEST" else version
        seen = json.loads(answer.data)
        assert {**seen, "service": without_log(seen)} == {**expected, "service": without_log(expected)}
        assert answer.headers["X-Fc-Invocation-Service-Version"] == expected["service"]["version_id"]


def without_log(context: dict[str, Any]) -> dict[str, str]:
    return {name: value for name, value in context["service"].items() if not name.startswith("log_")}


def context_of(service: str, *, request_id: str) -> dict[str, Any]:
    """What the function `manual` must show of its context, in a service without a role."""
    return {
        "FCContext": "FCContext",
        "request_id": request_id,
        "region": REGION,
        "account_id": ACCOUNT_ID,
        "credentials": {"class": "Credentials", "access_key_id": "", "access_key_secret": "", "security_token": ""},
        "function": {
            "class": "FunctionMeta",
            "name": "manual",
            "handler": "whole.my_handler",
            "memory": 128,
            "timeout": 20,
            "initializer": "whole.my_initializer",
            "initialization_timeout": 7,
        },
        "service": {
            "class": "ServiceMeta",
            "name": service,
            "log_project": "my-project",
            "log_store": "my-store",
            "qualifier": "LATEST",
            "version_id": "LATEST",
        },
    }
