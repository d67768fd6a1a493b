"""The Log Service of a real server: functions' lines are in their logstores, and the official consumer library follows
a logstore across a restart, so that nothing that was acknowledged is lost.
"""

import json
import os
import time
from collections.abc import Sequence
from typing import Any

import fc2
import pytest
from aliyun.log import IndexConfig, IndexLineConfig, LogClient, LogItem, PutLogsRequest
from aliyun.log.consumer import ConsumerProcessorBase, ConsumerWorker, CursorPosition, LogHubConfig
from tests.journeys.conftest import (
    ACCOUNT_ID,
    EVERY_RUNTIME,
    FUNCTIONS,
    KEY_ID,
    REGION,
    RUNTIMES,
    SECRET,
    Sesame,
    wait_until,
)

RUNTIME = "python3"
LOGSTORE = ("big-game", "app-log")
# Below it the client puts the project; its proxy is the server. Clients ask no resolver for an address.
ENDPOINT = "127.0.0.1:80"
PATIENCE_S = 60.0


class Reader(ConsumerProcessorBase):
    """Remembers what it was given, and saves how far it has come after each time."""

    def __init__(self, seen: list[str]) -> None:
        super().__init__()
        self._seen = seen

    def process(self, log_groups: Any, check_point_tracker: Any) -> None:
        self._seen += [
            content.Value for group in log_groups.LogGroups for log in group.Logs for content in log.Contents
        ]
        self.save_checkpoint(check_point_tracker, True)


def worker(seen: list[str], **options: Any) -> ConsumerWorker:
    config = LogHubConfig(
        ENDPOINT,
        KEY_ID,
        SECRET,
        *LOGSTORE,
        "readers",
        "reader-1",
        cursor_position=CursorPosition.BEGIN_CURSOR,
        heartbeat_interval=1,
        data_fetch_interval=1,
        **options,
    )
    return ConsumerWorker(Reader, config, args=(seen,))


def put(client: LogClient, numbers: Sequence[int]) -> None:
    """A group each, so that the shards take turns."""
    for number in numbers:
        item = LogItem(int(time.time()), contents=[("number", str(number))])
        client.put_logs(PutLogsRequest(*LOGSTORE, "", "", [item]))


def reach(server: Sesame, patch: pytest.MonkeyPatch) -> LogClient:
    """Has clients reach the server, and gives one."""
    patch.setenv("http_proxy", json.loads((server.data_dir / "endpoints.json").read_text())["sls"])
    return LogClient(ENDPOINT, KEY_ID, SECRET)


@pytest.mark.thorough
def test_the_consumer_library_follows_a_logstore_across_a_restart(
    own_sesame: Sesame, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    client = reach(own_sesame, monkeypatch)
    client.create_project(LOGSTORE[0], "")
    client.create_logstore(*LOGSTORE, ttl=7)
    put(client, range(10))
    seen: list[str] = []
    first = worker(seen)
    first.start()
    try:
        wait_until(lambda: len(seen) >= 10, "reading the first logs", PATIENCE_S)
        own_sesame.kill()
        own_sesame.start()
        put(reach(own_sesame, monkeypatch), range(10, 20))
        wait_until(lambda: len(set(seen)) >= 20, "reading on after the restart", PATIENCE_S)
    finally:
        first.shutdown()
        first.join(PATIENCE_S)
    assert set(seen) == {str(number) for number in range(20)}

    put(client, [20])
    rest: list[str] = []
    second = worker(rest, cursor_end_time="end")
    second.start()
    second.join(PATIENCE_S)
    assert not second.is_alive(), "the second reader did not come to the end"
    assert rest == ["20"]


@pytest.fixture
def log_client(sesame: Sesame, monkeypatch: pytest.MonkeyPatch) -> LogClient:
    """Of the shared server, which other clients go on to reach without a proxy."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.delenv("NO_PROXY", raising=False)
    reach(sesame, monkeypatch)
    return LogClient(f"{REGION}.log.aliyuncs.com", KEY_ID, SECRET, source="192.0.2.1")


@EVERY_RUNTIME
def test_what_a_function_prints_is_where_its_context_names(
    client: fc2.Client, log_client: LogClient, runtime: str
) -> None:
    project, service = f"logs-{runtime.replace('.', '-')}", f"logs-{runtime.replace('.', '-')}"
    log_client.create_project(project, "")
    log_client.create_logstore(project, "function-log", ttl=7, shard_count=1)
    log_client.create_index(project, "function-log", IndexConfig(line_config=IndexLineConfig([" ", "\n"])))
    role = f"acs:ram::{ACCOUNT_ID}:role/aliyunfcdefaultrole"
    client.create_service(service, role=role, logConfig={"project": project, "logstore": "function-log"})
    folder = str(FUNCTIONS / "journey_logged")
    client.create_function(service, "f", runtime=runtime, handler="index.my_handler", codeDir=folder, timeout=20)
    called = client.invoke_function(service, "f")
    named, request_id = json.loads(called.data), called.headers["X-Fc-Request-Id"]
    assert named == {"project": project, "logstore": "function-log"}

    def found() -> list[Any]:
        now = int(time.time())
        return list(log_client.get_log(project, "function-log", now - 600, now + 60, service, request_id).get_logs())

    wait_until(lambda: len(found()) >= 3, "the call's lines in the logstore", PATIENCE_S)
    rows = [row.get_contents() for row in found()]
    assert {(row["functionName"], row["serviceName"], row["qualifier"]) for row in rows} == {("f", service, "LATEST")}
    messages = [row["message"].strip() for row in rows]
    assert f"said by {request_id}" in messages
    assert f"FC Invoke Start RequestId: {request_id}" in messages
    assert f"FC Invoke End RequestId: {request_id}" in messages


@pytest.mark.parametrize("runtime", RUNTIMES[3:4])
def test_a_function_writes_logs_with_its_own_credentials(
    client: fc2.Client, log_client: LogClient, runtime: str
) -> None:
    where = ("logs-written", "function-log")
    log_client.create_project("logs-written", "")
    log_client.create_logstore(*where, ttl=7, shard_count=1)
    role = f"acs:ram::{ACCOUNT_ID}:role/aliyunfcdefaultrole"
    client.create_service("logs-written", role=role, logConfig={"project": where[0], "logstore": where[1]})
    client.create_function(
        "logs-written", "f", runtime=runtime, handler="index.my_handler", timeout=60,
        codeDir=str(FUNCTIONS / "journey_writes_log"), environmentVariables={"http_proxy": os.environ["http_proxy"]},
    )  # fmt: skip
    assert client.invoke_function("logs-written", "f").data == b"written"
    begin = log_client.get_begin_cursor(*where, 0).get_cursor()
    pulled = log_client.pull_logs(*where, 0, begin).get_flatten_logs_json()
    assert [row["message"].partition(" ")[0] for row in pulled if row["__topic__"] == "own"] == ["written"]
