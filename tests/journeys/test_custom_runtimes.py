"""Custom runtimes through the endpoint with the official SDK: calls, time limits, log lines, starts that fail."""

import base64
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fc2
import pytest
from tests.journeys.conftest import FUNCTIONS, Sesame, failure, running, wait_until
from tests.support import command_line

SERVER = FUNCTIONS / "custom_server"


@pytest.fixture(scope="module")
def sesame(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sesame]:
    """With one interpreter: none of these functions is Python's."""
    with running(tmp_path_factory.mktemp("sesame"), runtime="python3") as server:
        yield server


Create = Callable[..., str]


@pytest.fixture
def create(client: fc2.Client, service: str) -> Create:
    def make(folder: Path, **options: Any) -> str:
        name = options.pop("name", "f")
        options = {"handler": "index.handler", "runtime": "custom", "memorySize": 256, "timeout": 20, **options}
        client.create_function(service, name, codeDir=str(folder), **options)
        return name

    return make


def test_a_program_is_called_and_logged_as_a_function(client: fc2.Client, service: str, create: Create) -> None:
    create(SERVER, initializer="any.thing", environmentVariables={"WHO": "me"})
    done = client.invoke_function(service, "f", b"print", headers={"x-fc-log-type": "Tail"})
    assert done.data == b"printed"
    tail = base64.b64decode(done.headers["X-Fc-Log-Result"]).decode()
    request_id = done.headers["X-Fc-Request-Id"]
    places = [
        tail.index(line)
        for line in (
            f"FC Initialize Start RequestId: {request_id}", "initializing", f"FC Invoke Start RequestId: {request_id}",
            "printed by the server", f"FC Invoke End RequestId: {request_id}", "Duration: ",
        )
    ]  # fmt: skip
    assert places == sorted(places)
    seen = json.loads(client.invoke_function(service, "f", b"environment").data)
    expected = {"WHO": "me", "FC_FUNCTION_NAME": "f", "FC_RUNTIME_VERSION": "custom", "FC_FUNC_CODE_PATH": "/code/"}
    assert seen.items() >= expected.items()
    failed = failure(client.invoke_function, service, "f", b"fail")
    assert (failed["status"], failed["errorMessage"]) == (200, "said so")
    assert "Process exited" in failure(client.invoke_function, service, "f", b"exit")["errorMessage"]
    assert client.invoke_function(service, "f", b"again").data == b"echo:again"


def test_a_call_that_takes_too_long_ends_its_instance(client: fc2.Client, service: str, create: Create) -> None:
    create(SERVER, timeout=1)
    before = client.invoke_function(service, "f", b"x").headers["X-Fc-Instance-Id"]
    assert "timed out after 1 seconds" in failure(client.invoke_function, service, "f", b"hang")["errorMessage"]
    assert client.invoke_function(service, "f", b"x").headers["X-Fc-Instance-Id"] != before


def test_a_start_that_fails_is_told_in_the_clouds_words(
    client: fc2.Client, service: str, create: Create, tmp_path: Path
) -> None:
    (tmp_path / "bootstrap").write_text("#!/bin/sh\necho nothing works >&2\nexit 7\n")
    (tmp_path / "bootstrap").chmod(0o755)
    create(tmp_path, name="exits")
    failed = failure(client.invoke_function, service, "exits", b"")
    assert (failed["status"], failed["code"]) == (412, "CAExited")
    assert "code 7" in failed["ErrorMessage"]
    assert failed["ErrorMessage"].endswith("Logs:\nnothing works")
    (tmp_path / "bootstrap").rename(tmp_path / "other")
    create(tmp_path, name="missing")
    assert failure(client.invoke_function, service, "missing", b"")["code"] == "CAFileNotFound"
    (tmp_path / "other").rename(tmp_path / "bootstrap")
    (tmp_path / "bootstrap").chmod(0o644)
    create(tmp_path, name="plain")
    assert failure(client.invoke_function, service, "plain", b"")["code"] == "CAFilePermission"


def test_an_instance_that_is_not_well_any_more_is_replaced(
    client: fc2.Client, sesame: Sesame, service: str, create: Create
) -> None:
    create(SERVER, instanceConcurrency=2)
    check = {"httpGetUrl": "/healthy", "periodSeconds": 1, "failureThreshold": 1}
    updated = sesame.api()("PUT", f"/services/{service}/functions/f", json.dumps({"customHealthCheckConfig": check}))
    assert updated.status_code == 200
    before = client.invoke_function(service, "f", b"sicken").headers["X-Fc-Instance-Id"]
    # A call keeps it from being frozen, and is not disturbed.
    assert client.invoke_function(service, "f", b"sleep 3").data == b"slept"
    wait_until(
        lambda: client.invoke_function(service, "f", b"x").headers["X-Fc-Instance-Id"] != before,
        "calls get another instance",
    )


def test_commands_run_before_the_first_call_and_before_the_end(
    client: fc2.Client, sesame: Sesame, service: str, create: Create, tmp_path: Path
) -> None:
    shutil.copy(SERVER / "bootstrap", tmp_path / "bootstrap")
    (tmp_path / "prepare").write_text("#!/bin/sh\nset -e\necho prepared as $FC_FUNCTION_NAME\necho ready > /tmp/go-0\n")
    (tmp_path / "prepare").chmod(0o755)
    create(tmp_path)

    def hooks(**commands: list[str]) -> None:
        config = {name: {"command": command, "timeout": 10} for name, command in commands.items()}
        body = json.dumps({"instanceLifecycleConfig": config})
        assert sesame.api().whole("PUT", f"/2023-03-30/functions/{service}$f", body).status_code == 200

    hooks(initializer=["./prepare"], preStop=["sh", "-c", "echo tidied up"])
    done = client.invoke_function(service, "f", b"print", headers={"x-fc-log-type": "Tail"})
    tail = base64.b64decode(done.headers["X-Fc-Log-Result"]).decode()
    places = [tail.index(line) for line in ("FC Initialize Start", "prepared as f", "FC Initialize End", "printed by")]
    assert places == sorted(places)
    # The change ends the instance in order.
    hooks(initializer=["sh", "-c", "echo out of order; exit 7"])

    def log() -> str:
        return command_line.sesame("logs", f"{service}/f", "--data-dir", sesame.data_dir, expect=None).stdout

    wait_until(lambda: "tidied up" in log(), "the command before the end runs")
    failed = failure(client.invoke_function, service, "f", b"x")
    assert "ended with exit code 7" in failed["errorMessage"]
    hooks(initializer=["sh", "-c", "sleep 60"])
    updated = sesame.api()("PUT", f"/services/{service}/functions/f", json.dumps({"initializationTimeout": 1}))
    assert updated.status_code == 200
    assert "timed out after 1 seconds" in failure(client.invoke_function, service, "f", b"x")["errorMessage"]
