"""Asynchronous invocations through a whole Sesame, with the official SDK: accepted, run, retried, stopped, kept."""

import json
import os
from pathlib import Path
from typing import Any

import fc2
import pytest
from tests.journeys.conftest import ACCOUNT_ID, FUNCTIONS, KEY_ID, REGION, SECRET, Sesame, running, wait_until
from tests.support import forked
from tests.support.official_sdks import ask_by_fc2

RUNTIME = "python3.10"
CODE = str(FUNCTIONS / "journey_async")
ASYNC = {"x-fc-invocation-type": "Async"}
ENDED_WITHIN_S = 60.0
FINAL = ("Succeeded", "Failed", "Expired", "Stopped")


class Calls:
    """Invokes one function asynchronously, and asks what became of it."""

    def __init__(self, client: fc2.Client, service: str) -> None:
        self._client = client
        self._service = service

    def invoke(self, name: str, event: Any, **headers: str) -> str:
        """The request id of what was accepted."""
        sent = {**ASYNC, "x-fc-stateful-async-invocation-id": name, **headers}
        answer = self._client.invoke_function(self._service, "f", payload=json.dumps(event), headers=sent)
        assert (answer.data, answer.headers.get("Content-Type")) == (b"", None)
        return str(answer.headers["X-Fc-Request-Id"])

    def get(self, name: str) -> Any:
        return ask_by_fc2(self._client, "GET", self._path(name)).json()

    def stop(self, name: str) -> None:
        assert ask_by_fc2(self._client, "PUT", self._path(name)).status_code == 204

    def ended(self, name: str) -> Any:
        """The invocation, once it has ended."""

        def look() -> Any:
            found = self.get(name)
            return found if found["status"] in FINAL else None

        return wait_until(look, f"the end of {name}", ENDED_WITHIN_S)

    def _path(self, name: str) -> str:
        return f"/2016-08-15/services/{self._service}/functions/f/stateful-async-invocations/{name}"


def deploy(client: fc2.Client, service: str, runtime: str = RUNTIME) -> Calls:
    client.create_function(service, "f", runtime, "index.my_handler", codeDir=CODE, timeout=60)
    return Calls(client, service)


def states(found: Any) -> list[str]:
    return [event["status"] for event in found["events"]]


def test_an_accepted_invocation_runs_once_and_is_recorded(client: fc2.Client, service: str, runtime: str) -> None:
    calls = deploy(client, service, runtime)
    request_id = calls.invoke("job", {"a": 1})
    assert calls.invoke("job", {"a": 1}), "the same event again"
    found = calls.ended("job")
    assert (found["status"], found["requestId"], found["alreadyRetriedTimes"]) == ("Succeeded", request_id, 0)
    assert json.loads(found["returnPayload"]) == {"request_id": request_id, "retry_count": 0, "event": {"a": 1}}
    assert json.loads(found["invocationPayload"]) == {"a": 1}
    assert found["instanceId"].startswith("c-")
    assert found["endTime"] >= found["startedTime"] > 0
    assert (states(found)[0], states(found)[-1]) == ("Enqueued", "Succeeded")
    assert [event["eventId"] for event in found["events"]] == list(range(1, len(found["events"]) + 1))


def test_a_function_that_fails_is_tried_again(client: fc2.Client, service: str) -> None:
    calls = deploy(client, service)
    calls.invoke("job", {"failures": 1})
    found = calls.ended("job")
    assert (found["status"], found["alreadyRetriedTimes"]) == ("Succeeded", 1)
    assert json.loads(found["returnPayload"])["retry_count"] == 1
    assert "Retrying" in states(found)


def test_a_function_that_goes_on_failing(client: fc2.Client, service: str) -> None:
    calls = deploy(client, service)
    client.put_function_async_invoke_config(service, "LATEST", "f", {"maxAsyncRetryAttempts": 0})
    calls.invoke("job", {"failures": 9})
    found = calls.ended("job")
    assert (found["status"], found["alreadyRetriedTimes"]) == ("Failed", 0)
    assert "UnhandledInvocationError" in found["invocationErrorMessage"]
    assert json.loads(found["returnPayload"])["errorMessage"] == "attempt 0"


def test_a_delayed_invocation_that_is_stopped_never_starts(client: fc2.Client, service: str) -> None:
    calls = deploy(client, service)
    calls.invoke("job", {}, **{"x-fc-async-delay": "3600"})
    assert calls.get("job")["status"] == "Enqueued"
    calls.stop("job")
    found = calls.get("job")
    assert (found["status"], states(found)) == ("Stopped", ["Enqueued", "Stopped"])
    with pytest.raises(fc2.FcError) as again:
        calls.stop("job")
    assert (again.value.status_code, again.value.err_code) == (400, "InvalidArgument")


def test_of_a_running_invocation_the_instance_is_killed(tmp_path: Path) -> None:
    with running(tmp_path, runtime=RUNTIME) as server:
        client = server.client()
        client.create_service("s")
        calls = deploy(client, "s")
        calls.invoke("job", {"sleep": 50})
        wait_until(lambda: calls.get("job")["status"] == "Running", "the call", ENDED_WITHIN_S)
        calls.stop("job")
        found = calls.ended("job")
        assert (found["status"], "Stopping" in states(found)) == ("Stopped", True)
        assert found["durationMs"] < 50_000
        calls.invoke("next", {})
        assert calls.ended("next")["status"] == "Succeeded"


@pytest.mark.thorough
def test_what_was_accepted_outlives_a_kill(own_sesame: Sesame) -> None:
    client = own_sesame.client()
    client.create_service("s")
    calls = deploy(client, "s")
    calls.invoke("later", {"a": 1}, **{"x-fc-async-delay": "1"})
    calls.invoke("running", {"sleep": 5})
    wait_until(lambda: calls.get("running")["status"] == "Running", "the call", ENDED_WITHIN_S)
    own_sesame.kill()
    own_sesame.start()
    calls = Calls(own_sesame.client(), "s")
    for name in ("later", "running"):
        assert calls.ended(name)["status"] == "Succeeded"


def test_an_http_function_runs_asynchronously(client: fc2.Client, service: str) -> None:
    client.create_function(service, "web", "python3.10", "index.my_handler", codeDir=str(FUNCTIONS / "journey_web"))
    client.create_trigger(
        service, "web", "web", "http", {"authType": "anonymous", "methods": ["GET", "POST"]}, "dummy", ""
    )
    sent = {**ASYNC, "x-fc-stateful-async-invocation-id": "visit"}
    answer = client.do_http_request("POST", service, "web", "/a/b?x=1", headers=sent, body="body")
    assert (answer.status_code, answer.content) == (202, b"")
    path = f"/2016-08-15/services/{service}/functions/web/stateful-async-invocations/visit"
    found = wait_until(
        lambda: next((each for each in [ask_by_fc2(client, "GET", path).json()] if each["status"] in FINAL), None),
        "the visit", ENDED_WITHIN_S,
    )  # fmt: skip
    assert found["status"] == "Succeeded", found


def test_the_command_line(sesame: Sesame, client: fc2.Client, service: str) -> None:
    calls = deploy(client, service)
    calls.invoke("job", {"a": 1})
    calls.ended("job")

    def run(*arguments: str) -> str:
        environment = {
            **os.environ, "FC_ENDPOINT": sesame.endpoint, "ACCESS_KEY_ID": KEY_ID, "ACCESS_KEY_SECRET": SECRET,
            "ACCOUNT_ID": ACCOUNT_ID, "REGION": REGION,
        }  # fmt: skip
        done = forked.run("async", *arguments, environ=environment)
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout.decode()

    listed = run("list", f"{service}/f")
    assert listed.splitlines()[1].split()[0] == "Succeeded"
    assert "Succeeded" in run("show", f"{service}/f/job")
    again = run("replay", f"{service}/f/job").strip().rpartition("/")[2]
    assert calls.ended(again)["status"] == "Succeeded"
