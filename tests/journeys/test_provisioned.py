"""Provisioned instances through the official SDK: started, used, kept through a restart of the server, ended."""

import base64
from typing import Any

import fc2
from tests.journeys.conftest import FUNCTIONS, Sesame, wait_until

RUNTIME = "python3.10"
TAIL = {"x-fc-log-type": "Tail"}


def until(client: fc2.Client, current: int) -> dict[str, Any]:
    def look() -> dict[str, Any] | None:
        found: dict[str, Any] = client.get_provision_config("s", "prod", "f").data
        return found if found["current"] == current else None

    found: dict[str, Any] = wait_until(look, f"{current} provisioned instances")
    return found


def test_provisioned_instances_are_started_used_and_kept(own_sesame: Sesame) -> None:
    client = own_sesame.client()
    client.create_service("s")
    code = str(FUNCTIONS / "journey_pace")
    client.create_function(
        "s", "f", RUNTIME, "index.counter", initializer="index.my_initializer", codeDir=code, memorySize=128
    )
    client.publish_version("s")
    client.create_alias("s", "prod", "1")
    assert client.put_provision_config("s", "prod", "f", 1).data["target"] == 1
    found = until(client, 1)
    assert (found["target"], found["currentError"]) == (1, "")
    assert client.list_provision_configs("s", "prod").data == {"provisionConfigs": [found]}
    answer = client.invoke_function("s", "f", qualifier="prod", headers=TAIL)
    assert answer.data == b"2", "the initializer ran before the call"
    log = base64.b64decode(answer.headers["x-fc-log-result"]).decode()
    assert "Cold start" not in log
    assert "Initialize" not in log

    own_sesame.stop()
    own_sesame.start()
    client = own_sesame.client()
    until(client, 1)
    client.put_provision_config("s", "prod", "f", 0)
    assert until(client, 0)["currentError"] == ""
    assert client.list_provision_configs("s", "prod").data == {"provisionConfigs": []}
