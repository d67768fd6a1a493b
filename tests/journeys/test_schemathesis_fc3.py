"""The same of 2023-03-30: requests made from its description bring no 5xx and no hang, and leave nothing behind.

What is not a function's own, such as layers and custom domains, is deleted as in the versions before.
"""

import json
from typing import Any
from urllib.parse import quote

import pytest
import requests
from tests.journeys.conftest import ACCOUNT_ID, REGION, Sesame
from tests.journeys.test_schemathesis import (
    CODE,
    delete_all_that_is_listed,
    kept,
    server,
    try_all,
)

__all__ = ["server"]

VERSION = "2023-03-30"
EXAMPLES, EXAMPLES_LONG = 1, 60
ARN = f"acs:fc:{REGION}:{ACCOUNT_ID}"
FUNCTION = {
    "functionName": "f", "runtime": "python3", "handler": "index.my_handler", "code": CODE,
    "sessionAffinity": "HEADER_FIELD",
    "sessionAffinityConfig": json.dumps({"affinityHeaderFieldName": "x-session"}),
}  # fmt: skip
HTTP_TRIGGER = {
    "triggerName": "t", "triggerType": "http",
    "triggerConfig": json.dumps({"authType": "anonymous", "methods": ["GET"]}),
}  # fmt: skip
# These need a state in which the rest would have nothing to work on.
REFUSED = {
    "DELETE /2023-03-30/functions/{function}",  # it has triggers
    "POST /2023-03-30/functions/{function}/versions",  # nothing has changed since the last one
    "PUT /2023-03-30/functions/{function}/async-tasks/{task}/stop",  # it has ended
    "DELETE /2023-03-30/functions/{function}/provision-config",  # there is none: it would start instances
}
FITTING = {
    "handler": "index.my_handler", "cpu": 0.5, "memorySize": 512, "sessionId": "one", "ResourceId": ["f"],
    "ResourceType": "function", "Tag": [{"Key": "k", "Value": "v"}], "TagKey": ["k"],
}  # fmt: skip


def send(server: Sesame, method: str, path: str, body: Any = None, **headers: str) -> requests.Response:
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    answer = server.api().whole(method, f"/{VERSION}{path}", b"" if body is None else json.dumps(body), sent)
    assert answer.status_code < 500, (method, path, answer.text)
    return answer


def furnish(server: Sesame) -> dict[str, str]:
    """Makes the things that most paths name, as an example may have deleted them; answers with their names."""
    delete_function(server, "f")
    for method, path, body in (
        ("POST", "/functions", FUNCTION),
        ("POST", "/functions/f/versions", {}),
        ("POST", "/functions/f/triggers", HTTP_TRIGGER),
        ("POST", "/custom-domains", {"domainName": "there.example.com", "protocol": "HTTP"}),
        ("POST", "/layers/shared/versions", {"compatibleRuntime": ["python3"], "code": CODE}),
        ("PUT", "/functions/f/async-invoke-config", {}),
        ("PUT", "/functions/f/concurrency", {"reservedConcurrency": 1}),
        ("PUT", "/functions/f/scaling-config", {}),
        ("POST", "/functions/f/vpc-bindings", {"vpcId": "vpc-1"}),
        ("POST", "/functions/f/sessions", {"sessionId": "one"}),
    ):
        send(server, method, path, body)
    send(
        server,
        "POST",
        "/functions/f/invocations",
        x_fc_invocation_type="Async",
        x_fc_async_task_id="job",
        x_fc_async_delay="3600",
    )
    send(server, "PUT", "/functions/f/async-tasks/job/stop")
    version = send(server, "GET", "/functions/f/versions").json()["versions"][0]["versionId"]
    send(server, "POST", "/functions/f/aliases", {"aliasName": "live", "versionId": version})
    snapshot = send(server, "POST", "/functions/f/snapshots", {"sessionId": "one"}).json()["snapshotId"]
    layer = str(send(server, "GET", "/layers/shared/versions").json()["layers"][-1]["version"])
    return {
        "function": "f", "alias": "live", "trigger": "t", "task": "job", "layer": "shared", "vpc": "vpc-1",
        "domain": "there.example.com", "session": "one", "snapshot": snapshot, "instance": "none",
        "arn": f"{ARN}:layers/shared/versions/{layer}", "versionId": version, "layerVersion": layer,
    }  # fmt: skip


def delete_function(server: Sesame, name: str) -> None:
    """With all that keeps it; none of that name is as good."""
    path = f"/functions/{quote(name, safe='')}"
    for kind, key in (("triggers", "triggerName"), ("aliases", "aliasName"), ("versions", "versionId")):
        while listed := send(server, "GET", f"{path}/{kind}?limit=100").json().get(kind):
            for each in listed:
                answer = send(server, "DELETE", f"{path}/{kind}/{each[key]}")
                assert answer.status_code == 204, (each, answer.text)
    assert send(server, "DELETE", path).status_code in (204, 404)


def delete_functions(server: Sesame) -> None:
    while listed := send(server, "GET", "/functions?fcVersion=v3&limit=100").json()["functions"]:
        for each in listed:
            delete_function(server, each["functionName"])


@pytest.mark.parametrize("examples", [EXAMPLES, pytest.param(EXAMPLES_LONG, marks=pytest.mark.torture)])
def test_what_the_description_allows_is_answered_and_can_be_undone(server: Sesame, examples: int) -> None:
    taken = try_all(server, VERSION, examples, furnish, FITTING)
    assert len(taken) > 70
    if examples >= EXAMPLES_LONG:
        refused_always = {label for label, count in taken.items() if not count}
        assert refused_always <= REFUSED, f"{examples} requests made from the description, and none was taken"
    delete_functions(server)
    delete_all_that_is_listed(server)
    assert kept(server) == []
    furnish(server)
    answer = send(server, "POST", "/functions/f/invocations")
    assert (answer.status_code, answer.content) == (200, b"ok")
    delete_functions(server)
    delete_all_that_is_listed(server)
    server.stop()
    server.start()
    assert send(server, "GET", "/functions").json()["functions"] == []
    assert kept(server) == []
