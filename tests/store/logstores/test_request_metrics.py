"""The rows of request metrics: the fields of the cloud, written where the service may write, and nowhere else."""

from collections.abc import Iterable

import msgspec
import pytest
from structlog.testing import capture_logs
from tests.store.logstores.test_function_logs import written
from tests.support.fakes import FakeClocks

from sesame.model.invocation import FunctionError, Invocation, Outcome, Phases, Target
from sesame.model.logstore import LogRecord
from sesame.model.snapshot import LaunchConfig, Limits, LogTarget, Snapshot
from sesame.store.logs.file import SourceKey
from sesame.store.logs.logstores import metric_rows
from sesame.store.logs.logstores.metric_rows import MetricRows, Row
from sesame.store.logs.logstores.request_metrics import TOPIC, RequestMetrics, fields_of
from sesame.store.logs.logstores.store import LogStorage
from sesame.store.logs.routes import Route

SNAPSHOT = Snapshot(
    key="k", service="s", function="f", version_id="1", runtime="python3.10", role="", code="", code_checksum="",
    log_target=LogTarget("p", "l", request_metrics=True), launch=LaunchConfig(handler="main.handler"),
    limits=Limits(memory_mb=128, disk_mb=512, timeout_s=3, initialization_timeout_s=3),
)  # fmt: skip
INVOCATION = Invocation("r-1", Target("s", "prod", "f"), b"")
OUTCOME = Outcome(
    payload=b"", error=None, duration_ms=7.5, memory_mb=20.25, log_tail=b"", instance_id="c-1", version_id="1",
    code_checksum="", cold=False, phases=Phases(queue_ms=1.0, invoke_ms=8.0),
)  # fmt: skip


def test_a_call_has_the_fields_of_the_cloud() -> None:
    assert dict(fields_of(INVOCATION, SNAPSHOT, OUTCOME, 1_700_000_000.0)) == {
        "serviceName": "s", "functionName": "f", "versionId": "1", "qualifier": "prod", "requestId": "r-1",
        "instanceID": "c-1", "operation": "InvokeFunction", "invocationType": "Sync", "resourceMode": "OnDemand",
        "memoryMB": "128", "memoryUsageMB": "20.25", "durationMs": "7.50", "isColdStart": "false",
        "hasFunctionError": "false", "scheduleLatencyMs": "1.00", "invokeFunctionLatencyMs": "8.00",
        "invocationStartTimestamp": "1699999999991", "invokeFunctionStartTimestamp": "1699999999992",
    }  # fmt: skip


async def test_rows_of_a_function_without_a_service_name_none(storage: LogStorage) -> None:
    snapshot = msgspec.structs.replace(SNAPSHOT, service="$f")
    known = storage.metadata.known("p", "l").id
    metrics = RequestMetrics(MetricRows(storage, lambda _source: Route(known, multi_line=False)), list, FakeClocks())
    metrics.take(INVOCATION, snapshot, OUTCOME)
    await metrics.write()
    (group,) = await written(storage)
    assert (group.topic, dict(group.records[0].contents)["serviceName"]) == ("FCRequestMetrics:/f", "")


def test_a_call_on_a_provisioned_instance_says_so() -> None:
    outcome = msgspec.structs.replace(OUTCOME, provisioned=True)
    assert dict(fields_of(INVOCATION, SNAPSHOT, outcome, 1.0))["resourceMode"] == "Provision"


def test_a_cold_call_and_a_failed_one_have_more() -> None:
    phases = Phases(queue_ms=1.0, start_ms=10.0, initialize_ms=4.0, invoke_ms=5.0)
    failed = FunctionError("TimeoutError", "timeout")
    outcome = Outcome(
        payload=b"", error=failed, duration_ms=5.0, memory_mb=1.0, log_tail=b"", instance_id="c-1", version_id="1",
        code_checksum="", cold=True, phases=phases,
    )  # fmt: skip
    found = dict(fields_of(INVOCATION, SNAPSHOT, outcome, 1_700_000_000.0))
    assert found.items() >= {
        "isColdStart": "true", "hasFunctionError": "true", "errorType": "FunctionTimeoutError",
        "instanceEvent": "ColdStart", "coldStartStartTimestamp": "1699999999981", "coldStartLatencyMs": "14.00",
        "runtimeInitializationStartTimestamp": "1699999999991", "runtimeInitializationMs": "4.00",
    }.items()  # fmt: skip


def test_a_call_of_an_http_function_has_the_request() -> None:
    asked: dict[str, object] = {"method": "GET", "request_uri": "/a?b", "client_ip": "10.0.0.1"}
    invocation = Invocation("r-1", Target("s", "prod", "f"), b"", http_params=asked)
    outcome = msgspec.structs.replace(OUTCOME, http_params={"status": 404, "headers": []})
    assert dict(fields_of(invocation, SNAPSHOT, outcome, 1.0)).items() >= {
        "method": "GET", "requestURI": "/a?b", "clientIP": "10.0.0.1", "statusCode": "404",
    }.items()  # fmt: skip
    assert "statusCode" not in dict(fields_of(invocation, SNAPSHOT, OUTCOME, 1.0))


async def test_rows_go_where_the_service_may_write(storage: LogStorage, clocks: FakeClocks) -> None:
    routes: list[Route | str] = [Route(1, multi_line=False)]
    rows = MetricRows(storage, lambda _source: routes[0])
    metrics = RequestMetrics(rows, lambda: [("s", "f"), ("s", "g")], clocks)
    metrics.take(INVOCATION, SNAPSHOT, OUTCOME)
    await metrics.write()
    routes[0] = "no right"
    metrics.take(INVOCATION, SNAPSHOT, OUTCOME)
    await metrics.write()
    (group,) = await written(storage)
    assert group.topic == "FCRequestMetrics:s/f"
    (record,) = group.records
    assert dict(record.contents).items() >= {"activeInstances": "2", "activeInstancesPerFunction": "1"}.items()
    assert record.time_s == int(clocks.wall())


async def test_rows_of_other_agents_are_counted_where_all_instances_are_known(storage: LogStorage) -> None:
    told: list[Row] = []

    class Elsewhere:
        async def write(self, topic: str, rows: Iterable[Row]) -> None:
            assert topic == TOPIC
            told.extend(rows)

    there = RequestMetrics(Elsewhere(), None, FakeClocks())
    there.take(INVOCATION, SNAPSHOT, OUTCOME)
    await there.write()
    assert "activeInstances" not in dict(told[0][1].contents)
    rows = MetricRows(storage, lambda _source: Route(1, multi_line=False))
    here = RequestMetrics(rows, lambda: [("s", "f")] * 3, FakeClocks())
    here.add(told)
    await here.write()
    (group,) = await written(storage)
    (record,) = group.records
    assert dict(record.contents)["activeInstances"] == "3"
    assert record.contents[: len(told[0][1].contents)] == told[0][1].contents


async def test_no_more_rows_wait_than_may(storage: LogStorage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metric_rows, "WAITING_MAX", 2)
    rows = MetricRows(storage, lambda _source: Route(1, multi_line=False))
    metrics = RequestMetrics(rows, list, FakeClocks())
    source = SourceKey("s", "f", "1", "c-1", "p", "l")
    metrics.add([(source, LogRecord(number, 0, ())) for number in range(5)])
    metrics.take(INVOCATION, SNAPSHOT, OUTCOME)
    with capture_logs() as said:
        await metrics.write()
    assert [each["rows"] for each in said] == [4]
    (group,) = await written(storage)
    assert [each.time_s for each in group.records] == [0, 1]
