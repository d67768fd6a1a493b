"""Rows of metrics in a logstore, and recordings, of calls that every one of several agents serves."""

import concurrent.futures
import contextlib
import json
import textwrap
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

import oss2
import pytest
from aliyun.log import IndexConfig, IndexLineConfig, LogClient
from tests.journeys.conftest import ACCOUNT_ID, Sesame, running, wait_until
from tests.journeys.test_agents import AGENTS, RUNTIME, TIMES, agent_of
from tests.journeys.test_agents_calls import instances_on_every_agent
from tests.journeys.test_log_service import reach
from tests.support import command_line
from tests.support.buckets import CODE, bucket_of, create_service, text
from tests.support.jails import buckets_only
from tests.support.timed_calls import THREADS

PROJECT, LOGSTORE, SERVICE = "measured-logs", "metrics", "measured"
PATIENCE_S = 60.0


@pytest.fixture(scope="module")
def several(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sesame]:
    with running(
        tmp_path_factory.mktemp("agents"), "--agents", str(AGENTS), "--record", "all", runtime=RUNTIME, agents=None
    ) as server:
        wait_until(lambda: f"{AGENTS} agents serve" in server.said(), "all agents")
        yield server


@buckets_only
def test_every_agent_mounts_buckets(several: Sesame) -> None:
    bucket = bucket_of(several, "files-of-agents")
    bucket.create_bucket()
    bucket.put_object("in.txt", b"hello")
    service = "mounted"
    create_service(several, service, bucket.bucket_name)
    several.client().create_function(service, "f", RUNTIME, "index.run", codeDir=CODE, memorySize=256, timeout=60)
    program = """
        import time; time.sleep(0.05)
        name = '/mnt/oss/' + os.environ['FC_INSTANCE_ID']
        write(name, read('/mnt/oss/in.txt').encode())
        result = os.path.basename(name)
    """
    found: set[str] = set()
    before = {each.pid for each in several.instances()}

    def call(_number: int) -> None:
        answer = several.client().invoke_function(service, "f", payload=textwrap.dedent(program).encode())
        found.add(json.loads(answer.data))

    def on_every_agent() -> bool:
        list(threads.map(call, range(2 * THREADS)))
        new = [each for each in several.instances() if each.pid not in before]
        return len({agent_of(each, several) for each in new} - {0}) == AGENTS

    with concurrent.futures.ThreadPoolExecutor(THREADS) as threads:
        wait_until(on_every_agent, "instances with the bucket on every agent")
    assert {each.key for each in oss2.ObjectIterator(bucket)} == {"in.txt", *found}
    assert all(text(bucket, each) == "hello" for each in found)


@contextlib.contextmanager
def reaching(server: Sesame) -> Iterator[LogClient]:
    with pytest.MonkeyPatch.context() as patch:
        yield reach(server, patch)


def rows(server: Sesame, topic: str) -> list[Any]:
    now = int(time.time())
    with reaching(server) as logs:
        found = logs.get_log(PROJECT, LOGSTORE, now - 600, now + 60, topic, size=-1).get_logs()
    return [each.get_contents() for each in found]


def recorded(server: Sesame) -> set[str]:
    """The request ids of all recordings."""
    said = command_line.sesame("record", "list", f"{SERVICE}/f", "-n", 10_000, "--json", "--data-dir", server.data_dir)
    return {each["requestId"] for each in json.loads(said.stdout)["recordings"]}


def test_every_call_has_its_row_and_its_recording_and_every_agents_instances_have_rows(several: Sesame) -> None:
    with reaching(several) as logs:
        logs.create_project(PROJECT, "")
        logs.create_logstore(PROJECT, LOGSTORE, ttl=7, shard_count=1)
        logs.create_index(PROJECT, LOGSTORE, IndexConfig(line_config=IndexLineConfig([" ", "\n"])))
    client, role = several.client(), f"acs:ram::{ACCOUNT_ID}:role/aliyunfcdefaultrole"
    config = {
        "project": PROJECT, "logstore": LOGSTORE, "enableRequestMetrics": True, "enableInstanceMetrics": True,
    }  # fmt: skip
    client.create_service(SERVICE, role=role, logConfig=config)
    client.create_function(SERVICE, "f", RUNTIME, "index.my_handler", codeDir=TIMES, memorySize=128)
    served: dict[str, str] = {}

    def call(_number: int) -> None:
        # On a connection of its own, to whichever agent.
        answer = several.client().invoke_function(SERVICE, "f", payload=b"0.02")
        served[answer.headers["X-Fc-Request-Id"]] = answer.headers["X-Fc-Instance-Id"]

    with concurrent.futures.ThreadPoolExecutor(THREADS) as threads:
        instances_on_every_agent(several, lambda: list(threads.map(call, range(10 * THREADS))))
    assert recorded(several) == served.keys()

    def of_calls() -> list[Any]:
        return rows(several, f"FCRequestMetrics:{SERVICE}/f")

    wait_until(lambda: len(of_calls()) >= len(served), "a row of each call", PATIENCE_S)
    found = of_calls()
    assert {each["requestId"]: each["instanceID"] for each in found} == served
    assert set(Counter(each["requestId"] for each in found).values()) == {1}
    assert max(int(each["activeInstances"]) for each in found) >= AGENTS, "those of all agents are counted"

    def measured() -> set[str]:
        return {each["instanceID"] for each in rows(several, f"FCInstanceMetrics:{SERVICE}/f")}

    wait_until(lambda: measured() >= set(served.values()), "a row of each instance", PATIENCE_S)
