"""The life of instances as callers see it: initializers, reuse, time limits, updates, many callers at once.

Under the oldest and the newest runtime where the runtime matters (reference/runtime.md §10, §6.3).
"""

import base64
import concurrent.futures
import json
import re
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import fc2
import psutil
import pytest
import requests
from tests.journeys.conftest import AGENTS, FUNCTIONS, THE_MANUALS, Deploy, Sesame, running, wait_until
from tests.support.signer import Api

PACE = str(FUNCTIONS / "journey_pace")
TAIL = {"x-fc-log-type": "Tail"}
CALLERS = 16


def tail(answer: requests.Response) -> str:
    return base64.b64decode(answer.headers["X-Fc-Log-Result"]).decode()


def instance(answer: requests.Response) -> str:
    assert answer.status_code == 200, answer.text
    return answer.headers["X-Fc-Instance-Id"]


def test_the_initializer_counts_first(deploy: Deploy, service: str, api: Api) -> None:
    deploy("pace", handler="index.counter", initializer="index.my_initializer")
    first, second = (api.invoke(service, "pace", headers=TAIL) for _ in range(2))
    assert (first.content, second.content) == (b"2", b"3")
    assert instance(first) == instance(second)
    request_id = first.headers["X-Fc-Request-Id"]
    assert re.match(
        rf"FC Initialize Start RequestId: {request_id}\r?\nFC Initialize End RequestId: {request_id}\r?\n"
        rf"FC Invoke Start RequestId: {request_id}\r?\n",
        tail(first),
    )
    assert "Initialize" not in tail(second)


def test_after_a_failed_initializer_comes_a_new_instance(
    deploy: Deploy, client: fc2.Client, service: str, api: Api
) -> None:
    deploy("initializer", handler="index.handler", initializer="index.broken")
    answers = [api.invoke(service, "initializer", headers=TAIL) for _ in range(2)]
    for answer in answers:
        assert answer.headers["X-Fc-Error-Type"] == "UnhandledInvocationError"
        assert answer.json() == {
            "errorMessage": "no database",
            "errorType": "RuntimeError",
            "stackTrace": [
                ['File "/code/index.py"', "line 10", "in broken", "raise RuntimeError('no database')"],
            ],
        }
        request_id = answer.headers["X-Fc-Request-Id"]
        assert f"FC Initialize End RequestId: {request_id}, Error: Unhandled function error" in tail(answer)
        assert "FC Invoke Start" not in tail(answer)
    assert instance(answers[0]) != instance(answers[1])
    client.update_function(service, "initializer", initializer="index.init")
    again = api.invoke(service, "initializer")
    assert json.loads(again.content) == [again.headers["X-Fc-Request-Id"]]


def test_the_initializer_has_a_time_of_its_own(deploy: Deploy, client: fc2.Client, service: str, api: Api) -> None:
    slow = {"INITIALIZE_S": "1.5"}
    limits = {"timeout": 1, "initializationTimeout": 10}
    deploy("pace", initializer="index.my_initializer", environmentVariables=slow, **limits)
    assert json.loads(api.invoke(service, "pace").content)["counter"] == 2
    client.update_function(service, "pace", initializationTimeout=1, timeout=60)
    late = api.invoke(service, "pace", headers=TAIL)
    assert late.headers["X-Fc-Error-Type"] == "UnhandledInvocationError"
    assert re.fullmatch(r"Function timed out after 1 seconds \(maxMemoryUsage: [\d.]+MB\)", late.json()["errorMessage"])
    assert "in my_initializer" in tail(late)


def test_at_its_time_a_call_ends_with_everything_it_started(deploy: Deploy, service: str, api: Api) -> None:
    deploy("pace", handler="index.leaves_children", timeout=2)
    mark = f"left-behind-{uuid.uuid4()}"
    with concurrent.futures.ThreadPoolExecutor(1) as caller:
        call = caller.submit(api.invoke, service, "pace", mark, TAIL)
        wait_until(lambda: len(of(mark)) == 2, "the children")
        answer = call.result()
    assert re.fullmatch(
        r"Function timed out after 2 seconds \(maxMemoryUsage: [\d.]+MB\)", answer.json()["errorMessage"]
    )
    assert 2000 <= int(answer.headers["X-Fc-Invocation-Duration"]) < 20_000
    assert "children are up" in tail(answer)
    wait_until(lambda: not of(mark), "the end of the children")


def of(mark: str) -> list[psutil.Process]:
    """The processes that have `mark` in their command line."""
    return [
        process
        for process in psutil.process_iter(["cmdline"])
        if any(mark in word for word in process.info["cmdline"] or ())
    ]


def test_calls_in_a_row_reuse_the_instance(deploy: Deploy, service: str, api: Api) -> None:
    deploy("pace", handler="index.counter")
    answers = [api.invoke(service, "pace") for _ in range(20)]
    assert [answer.content for answer in answers] == [str(number).encode() for number in range(1, 21)]
    assert len({instance(answer) for answer in answers}) == 1


@THE_MANUALS
def test_many_callers_at_once(deploy: Deploy, service: str, api: Api) -> None:
    deploy("square", timeout=60)

    def call(number: int) -> tuple[str, float, float]:
        began = time.monotonic()
        answer = api.invoke(service, "square", json.dumps({"number": number, "pause_s": 0.05}))
        assert json.loads(answer.content)["square"] == number**2
        return instance(answer), began, time.monotonic()

    with concurrent.futures.ThreadPoolExecutor(CALLERS) as callers:
        calls = list(callers.map(call, range(5 * CALLERS)))
    # Of several agents each keeps idle ones of its own, and none has more calls than all callers (docs/agents.md).
    assert 1 < len({name for name, _, _ in calls}) <= CALLERS * int(AGENTS)


def test_an_instance_runs_one_call_at_a_time(client: fc2.Client, service: str, api: Api) -> None:
    client.create_function(service, "f", "python3.10", "index.my_handler", codeDir=PACE, timeout=60)
    together = threading.Barrier(8)

    def call(_: int) -> str:
        together.wait()
        return instance(api.invoke(service, "f", "1.5"))

    with concurrent.futures.ThreadPoolExecutor(8) as callers:
        assert len(set(callers.map(call, range(8)))) == 8


@THE_MANUALS
def test_a_call_in_flight_ends_on_the_code_it_began_with(
    deploy: Deploy, client: fc2.Client, service: str, api: Api, tmp_path: Path
) -> None:
    deploy("pace")
    api.invoke(service, "pace")
    new = (FUNCTIONS / "journey_pace" / "index.py").read_text().replace("'old'", "'new'")
    (tmp_path / "index.py").write_text(new)
    with concurrent.futures.ThreadPoolExecutor(1) as caller:
        running_call = caller.submit(api.invoke, service, "pace", "2", TAIL)
        time.sleep(0.5)
        client.update_function(service, "pace", codeDir=str(tmp_path))
        assert json.loads(api.invoke(service, "pace").content)["code"] == "new"
        assert not running_call.done()
        assert json.loads(running_call.result().content)["code"] == "old"
    assert json.loads(api.invoke(service, "pace").content)["code"] == "new"


@THE_MANUALS
def test_a_function_that_is_gone_is_not_called(deploy: Deploy, client: fc2.Client, service: str, api: Api) -> None:
    deploy("pace", handler="index.counter")
    assert api.invoke(service, "pace").content == b"1"
    client.delete_function(service, "pace")
    assert api.invoke(service, "pace").json()["ErrorCode"] == "FunctionNotFound"
    deploy("pace", handler="index.counter")
    assert api.invoke(service, "pace").content == b"1"


@pytest.fixture(scope="module")
def narrow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sesame]:
    """A server with room for two instances of a function, and for 512 MB in all."""
    bounds = ("--max-instances", "2", "--max-memory-mb", "512")
    with running(tmp_path_factory.mktemp("narrow"), *bounds, runtime="python3.10") as server:
        yield server


@pytest.mark.parametrize(
    ("memory_mb", "callers", "served"), [(128, 4, 2), pytest.param(512, 3, 1, marks=pytest.mark.thorough)]
)
def test_more_calls_than_the_capacity_serves(narrow: Sesame, memory_mb: int, callers: int, served: int) -> None:
    client, api, service = narrow.client(), narrow.api(), f"narrow-{memory_mb}"
    client.create_service(service)
    client.create_function(service, "f", "python3.10", "index.my_handler", codeDir=PACE, memorySize=memory_mb)
    together = threading.Barrier(callers)

    def call(_: int) -> requests.Response:
        together.wait()
        return api.invoke(service, "f", "3")

    with concurrent.futures.ThreadPoolExecutor(callers) as threads:
        answers = list(threads.map(call, range(callers)))
    refused = [answer for answer in answers if answer.status_code != 200]
    assert len(answers) - len(refused) == served
    for answer in refused:
        assert (answer.status_code, answer.json()["ErrorCode"]) == (429, "ResourceExhausted")
        assert set(answer.json()) == {"ErrorCode", "ErrorMessage"}
    assert api.invoke(service, "f", "0").status_code == 200
