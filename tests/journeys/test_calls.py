"""Deploy and call, with the official SDK, under the oldest and the newest runtime; test_manual.py has each."""

import base64
import json
import time
import uuid
from pathlib import Path

import fc2
import pytest
from tests.journeys.conftest import ACCOUNT_ID, REGION, RUNTIMES, Deploy, failure, oldest_and_newest

pytestmark = pytest.mark.parametrize("runtime", oldest_and_newest(RUNTIMES))


def test_hello_world(deploy: Deploy) -> None:
    answer = deploy("hello")()
    assert answer.data == b"hello world"
    assert answer.headers["Content-Type"] == "application/octet-stream"
    assert len(answer.headers["X-Fc-Request-Id"]) == 36
    assert answer.headers["X-Fc-Invocation-Service-Version"] == "LATEST"
    assert answer.headers["X-Fc-Invocation-Duration"].isdigit()
    assert float(answer.headers["X-Fc-Max-Memory-Usage"]) > 1
    assert answer.headers["X-Fc-Instance-Id"].startswith("c-")
    assert "X-Fc-Log-Result" not in answer.headers


def test_a_handler_in_a_nested_module(deploy: Deploy) -> None:
    assert deploy("nested", handler="package.entry.my_handler")().data == b"package.entry"


@pytest.mark.parametrize("event", [b"", b"text", "中文".encode(), bytes(range(256)), b"x" * 6_000_000])
def test_events_come_back_as_they_went(deploy: Deploy, event: bytes) -> None:
    assert deploy("echo")(event).data == event


def test_the_json_event_and_what_its_caller_sees_without_the_key(deploy: Deploy, runtime: str) -> None:
    call = deploy("event_key")
    assert call(b'{"key": "value"}').data == b"value"
    seen = failure(call, b"{}")
    assert seen["status"] == 200
    assert seen["errorType"] == "KeyError"
    assert "key" in seen["errorMessage"]
    assert any("index.py" in str(frame) for frame in seen["stackTrace"])


def test_the_whole_context(deploy: Deploy, service: str, runtime: str) -> None:
    mine = str(uuid.uuid4())
    answer = deploy("whole_context")(x_fc_trace_id=mine)
    context = json.loads(answer.data)
    assert answer.headers["X-Fc-Request-Id"] == mine
    assert context["request_id"] == mine
    assert context["credentials"] == ["", "", ""]
    assert context["function"][:2] == ["whole_context", "index.my_handler"]
    assert [int(number) for number in context["function"][2:]] == [128, 20]
    assert context["service"] == [service, "", "", "LATEST", context["service"][4]]
    assert context["region"] == REGION
    assert context["account_id"] == ACCOUNT_ID


def test_calls_in_a_row_share_one_initialized_instance(deploy: Deploy) -> None:
    call = deploy("counter", initializer="index.my_initializer")
    first, second, third = call(), call(), call()
    assert [first.data, second.data, third.data] == [b"1/1", b"1/2", b"1/3"]
    assert first.headers["X-Sesame-Cold-Start"] == "true"
    assert "X-Sesame-Cold-Start" not in second.headers
    assert first.headers["X-Fc-Instance-Id"] == third.headers["X-Fc-Instance-Id"]


def test_an_initializer_that_fails(deploy: Deploy) -> None:
    call = deploy("counter", initializer="index.my_initializer", environmentVariables={"FAIL": "1"})
    for _ in range(2):
        seen = failure(call)
        assert seen["status"] == 200
        assert "initializer says no" in seen["errorMessage"]


def test_the_next_call_after_an_update_runs_the_new_code(
    deploy: Deploy, client: fc2.Client, service: str, tmp_path: Path
) -> None:
    call = deploy("hello")
    assert call().data == b"hello world"
    for number in range(5):
        (tmp_path / "index.py").write_text(f"def my_handler(event, context):\n    return 'code {number}'\n")
        client.update_function(service, "hello", codeDir=str(tmp_path))
        assert call().data == f"code {number}".encode()


def test_a_call_that_takes_too_long(deploy: Deploy) -> None:
    call = deploy("slow", timeout=1)
    assert call(b"0").data == b"woke up"
    began = time.monotonic()
    seen = failure(call, b"30")
    assert time.monotonic() - began < 25
    assert seen["status"] == 200
    assert seen["errorMessage"].startswith("Function timed out after 1 seconds")
    assert call(b"0").data == b"woke up"


@pytest.mark.parametrize("how", ["exit", "_exit", "segv"])
def test_a_process_that_ends_before_it_answers(deploy: Deploy, how: str) -> None:
    call = deploy("dies")
    seen = failure(call, how.encode())
    assert seen["status"] == 200
    assert seen["errorMessage"].startswith("Process exited unexpectedly before completing request (duration: ")
    assert call(b"live on").data == b"alive"


def test_the_log_tail_holds_everything_that_was_written(deploy: Deploy) -> None:
    answer = deploy("talkative")(x_fc_log_type="Tail")
    tail = base64.b64decode(answer.headers["X-Fc-Log-Result"]).decode()
    request_id = answer.headers["X-Fc-Request-Id"]
    for line in ("printed to stdout", "written to stderr", "logged as info", "said by a child"):
        assert line in tail
    assert f"FC Invoke Start RequestId: {request_id}" in tail
    assert f"FC Invoke End RequestId: {request_id}" in tail
    assert "Duration: " in tail
    assert "Memory Size: 128 MB" in tail


def test_environment_variables_are_replaced_by_an_update(
    deploy: Deploy, client: fc2.Client, service: str, tmp_path: Path
) -> None:
    (tmp_path / "index.py").write_text(
        "import os\ndef my_handler(event, context):\n    return os.environ.get('MINE', 'unset')\n"
    )
    call = deploy("hello", environmentVariables={"MINE": "first"})
    client.update_function(service, "hello", codeDir=str(tmp_path))
    assert call().data == b"first"
    client.update_function(service, "hello", environmentVariables={"MINE": "second"})
    assert call().data == b"second"
    client.update_function(service, "hello", environmentVariables={})
    assert call().data == b"unset"
