"""Sesame's own operations on recorded calls: settings, lists, replays, trials, and their refusals."""

import base64
import hashlib
from typing import Any

import pytest
from tests.fc.conftest import Answer, Endpoint
from tests.support.recordings import recording

from sesame.sandbox import checking


@pytest.fixture
async def deployed(endpoint: Endpoint, function_body: dict[str, Any]) -> str:
    """The SHA-256 of the code of the function `demo/f`, whose variable A is set."""
    await endpoint.call("POST", "/services", {"serviceName": "demo"})
    body = {**function_body, "environmentVariables": {"A": "1", "NEW": "2"}}
    assert (await endpoint.call("POST", "/services/demo/functions", body)).status == 200
    return hashlib.sha256(base64.b64decode(function_body["code"]["zipFile"])).hexdigest()


async def own(endpoint: Endpoint, method: str, path: str, body: bytes | dict[str, Any] = b"") -> Answer:
    return await endpoint.call(method, path, body, whole_path=True)


async def test_what_is_recorded_of_a_function_is_set_and_read(endpoint: Endpoint, deployed: str) -> None:
    answer = await own(endpoint, "GET", "/sesame/services/demo/functions/f/recording")
    assert answer.json() == {"mode": "none", "own": False, "server": "none"}
    answer = await own(endpoint, "PUT", "/sesame/services/demo/functions/f/recording", {"mode": "failed"})
    assert answer.json() == {"mode": "failed", "own": True, "server": "none"}
    answer = await own(endpoint, "PUT", "/sesame/services/demo/functions/f/recording", {"mode": "server"})
    assert answer.json() == {"mode": "none", "own": False, "server": "none"}
    for body, code in (({"mode": "some"}, "InvalidArgument"), ({}, "InvalidArgument")):
        answer = await own(endpoint, "PUT", "/sesame/services/demo/functions/f/recording", body)
        assert (answer.status, answer.json()["ErrorCode"]) == (400, code)
    answer = await own(endpoint, "PUT", "/sesame/services/demo/functions/g/recording", {"mode": "all"})
    assert (answer.status, answer.json()["ErrorCode"]) == (404, "FunctionNotFound")


async def test_recordings_are_listed_page_by_page_shown_and_deleted(endpoint: Endpoint) -> None:
    for number in range(5):
        endpoint.recordings.take(recording(f"r-{number}"))
    page = (await own(endpoint, "GET", "/sesame/recordings?limit=3&service=demo&function=f")).json()
    assert [each["requestId"] for each in page["recordings"]] == ["r-4", "r-3", "r-2"]
    page = (await own(endpoint, "GET", f"/sesame/recordings?limit=3&nextToken={page['nextToken']}")).json()
    assert ([each["requestId"] for each in page["recordings"]], "nextToken" in page) == (["r-1", "r-0"], False)
    found = (await own(endpoint, "GET", "/sesame/recordings/r-3")).json()
    assert (found["requestId"], base64.b64decode(found["event"])) == ("r-3", b"{}")
    assert len((await own(endpoint, "GET", "/sesame/recordings")).json()["recordings"]) == 5
    assert (await own(endpoint, "DELETE", "/sesame/recordings?service=other")).json() == {"deleted": 0}
    assert (await own(endpoint, "DELETE", "/sesame/recordings")).json() == {"deleted": 5}
    answer = await own(endpoint, "GET", "/sesame/recordings/r-3")
    assert (answer.status, answer.json()["ErrorCode"]) == (404, "RecordingNotFound")


async def test_a_recorded_call_is_run_with_what_was_recorded(endpoint: Endpoint, deployed: str) -> None:
    endpoint.recordings.take(
        recording(
            "r", code=deployed, environment=("A", "GONE"), environment_digests=("of another value", "-"),
            event=b"the event", memory_size_mb=256, timeout_s=7, role="acs:ram::1:role/before",
        )
    )  # fmt: skip
    answer = await own(endpoint, "POST", "/sesame/recordings/r/replay", {})
    assert answer.status == 200, answer.body
    found = answer.json()
    assert (found["runtime"], found["missing"], found["code"]) == ("python3.12", ["GONE"], deployed)
    assert (found["changed"], found["role"], found["recorded"]["role"]) == (["A"], "", "acs:ram::1:role/before")
    assert base64.b64decode(found["outcome"]["result"]) == b"the event"
    ((snapshot, invocation),) = endpoint.trials.ran
    assert (snapshot.runtime, snapshot.launch.environment) == ("python3.12", {"A": "1"})
    assert (snapshot.limits.memory_mb, snapshot.limits.timeout_s) == (256, 7)
    assert invocation.request_id != "r"


async def test_a_call_is_run_under_another_runtime_and_with_other_code(
    endpoint: Endpoint, deployed: str, function_body: dict[str, Any]
) -> None:
    endpoint.recordings.take(recording("r", code="0" * 64))
    answer = await own(endpoint, "POST", "/sesame/recordings/r/replay", {})
    assert answer.status == 400
    assert "is not kept any more: run it with other code" in answer.json()["ErrorMessage"]
    body = {"runtime": "python2.7", "code": function_body["code"]}
    found = (await own(endpoint, "POST", "/sesame/recordings/r/replay", body)).json()
    assert (found["runtime"], found["code"]) == ("python2.7", deployed)
    answer = await own(endpoint, "POST", "/sesame/recordings/r/replay", {"runtime": "nodejs12"})
    assert (answer.status, answer.json()["ErrorCode"]) == (400, "InvalidArgument")


async def test_an_event_that_was_not_kept_cannot_be_replayed(endpoint: Endpoint, deployed: str) -> None:
    endpoint.recordings.take(recording("r", code=deployed, event=None, event_bytes=5_000_000))
    answer = await own(endpoint, "POST", "/sesame/recordings/r/replay", {})
    assert answer.status == 400
    assert "it has 5000000 bytes" in answer.json()["ErrorMessage"]


async def test_a_function_is_tried_and_checked_under_another_runtime(endpoint: Endpoint, deployed: str) -> None:
    answer = await own(endpoint, "POST", "/sesame/services/demo/functions/f/trial?runtime=python2.7", b"\xff")
    assert (answer.json()["runtime"], base64.b64decode(answer.json()["outcome"]["result"])) == ("python2.7", b"\xff")
    answer = await own(endpoint, "POST", "/sesame/services/demo/functions/f/source-check?runtime=python3.9")
    assert answer.json() == {"runtime": "python3.9", "findings": []}
    tried, checked = [snapshot for snapshot, _invocation in endpoint.trials.ran]
    assert (tried.code, tried.launch.environment) == (deployed, {"A": "1", "NEW": "2"})
    assert (checked.launch.handler, checked.launch.environment, checked.role) == (checking.HANDLER, {}, "")
    assert checked.code != deployed
    answer = await own(endpoint, "POST", "/sesame/services/demo/functions/g/trial")
    assert (answer.status, answer.json()["ErrorCode"]) == (404, "FunctionNotFound")
    answer = await own(endpoint, "POST", "/sesame/services/demo/functions/g/source-check")
    assert (answer.status, answer.json()["ErrorCode"]) == (404, "FunctionNotFound")
