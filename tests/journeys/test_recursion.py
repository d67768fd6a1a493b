"""Functions that lead to themselves, through the official SDK and through destinations, where a limit is set."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.journeys.conftest import ACCOUNT_ID, FUNCTIONS, REGION, Sesame, run, running, wait_until
from tests.support.official_sdks import ask_by_fc2

RUNTIME = "python3.10"
LIMIT = 3
ENDED_WITHIN_S = 60.0
ROLE = f"acs:ram::{ACCOUNT_ID}:role/caller"
ASYNC = {"x-fc-invocation-type": "Async", "x-fc-stateful-async-invocation-enable": "true"}


@pytest.fixture(scope="module")
def limited(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sesame]:
    """With a role that may invoke functions."""
    folder: Path = tmp_path_factory.mktemp("limited")
    with running(folder, "--recursion-limit", str(LIMIT), runtime=RUNTIME) as server:
        run(server, "roles", "add", "caller", "--policy", "AliyunFCInvocationAccess")
        yield server


def cut(server: Sesame, service: str, function: str) -> list[Any]:
    """Every invocation of the function, once one was cut."""
    path = f"/2016-08-15/services/{service}/functions/{function}/stateful-async-invocations"

    def look() -> list[Any]:
        found = ask_by_fc2(server.client(), "GET", path).json()["invocations"] or []
        return found if any(each["status"] == "Failed" for each in found) else []

    found: list[Any] = wait_until(look, "the end of the chain", ENDED_WITHIN_S)
    return found


def test_a_function_that_invokes_itself(limited: Sesame) -> None:
    client = limited.client()
    client.create_service("sdk", role=ROLE)
    code = str(FUNCTIONS / "journey_recursive")
    client.create_function("sdk", "f", RUNTIME, "index.my_handler", codeDir=code, timeout=30, memorySize=256)
    client.invoke_function("sdk", "f", payload=json.dumps({"endpoint": limited.endpoint}), headers=ASYNC)
    found = cut(limited, "sdk", "f")
    assert [each["status"] for each in found] == ["Failed", *["Succeeded"] * LIMIT]
    assert "RecursionLimitExceeded" in json.dumps(found[0])
    assert found[0]["alreadyRetriedTimes"] == 0


def test_a_function_that_is_its_own_destination(limited: Sesame) -> None:
    client = limited.client()
    client.create_service("loop", role=ROLE)
    code = str(FUNCTIONS / "journey_echo")
    client.create_function("loop", "f", RUNTIME, "index.my_handler", codeDir=code)
    itself = {"destination": f"acs:fc:{REGION}:{ACCOUNT_ID}:services/loop/functions/f"}
    config = {"destinationConfig": {"onSuccess": itself}, "statefulInvocation": True}
    client.put_function_async_invoke_config("loop", "LATEST", "f", config)
    client.invoke_function("loop", "f", payload="{}", headers=ASYNC)
    found = cut(limited, "loop", "f")
    assert [each["status"] for each in found] == ["Failed", *["Succeeded"] * LIMIT]
