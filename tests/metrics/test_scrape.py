"""A scrape holds what was measured, in Prometheus' text and in OpenMetrics; the pages about metrics say what is there.

Run by pytest, without a server.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from prometheus_client.openmetrics import parser as openmetrics_parser
from prometheus_client.parser import text_string_to_metric_families
from tests.support.exchanges import FakeExchange
from tests.support.fakes import FakeClocks

from sesame.http.request import Request
from sesame.metrics import definitions
from sesame.metrics.calls import CallCounts
from sesame.metrics.endpoint import MetricsEndpoint
from sesame.metrics.families import InstanceCount, Leader, Measured, PoolState, ProvisionedCount
from sesame.metrics.loop_lag import BEAT_S, LoopLag
from sesame.metrics.scrape import Scrape
from sesame.model.durations import Durations
from sesame.model.errors import PlatformError
from sesame.model.invocation import FunctionError, Invocation, Outcome, Phases, Target
from sesame.store.logs.lag import Lag
from sesame.store.logs.logstores.measuring import Kept, LogServiceCounts
from sesame.store.queue.depth import QueueDepth

DOCS = Path(__file__).parents[2] / "docs"
POOL = PoolState(
    instances=[InstanceCount("s", "f", "busy"), InstanceCount("s", "f", "busy"), InstanceCount("s", "g", "frozen")],
    provisioned=[ProvisionedCount("s", "f", 2, 3), ProvisionedCount("s", "f", 1, 1)],
    calls_in_flight=2,
    memory_mb=384,
    memory_max_mb=1024,
    requests={"warm": 5, "cold": 3, "refused": 2, "failed": 1},
    idle_ended={"evicted": 1, "expired": 2, "outdated": 3, "died": 4},
)
LABELS = (
    "service",
    "function",
    "type",
    "outcome",
    "phase",
    "step",
    "state",
    "result",
    "reason",
    "place",
    "le",
    "node",
    "epoch",
)
KEPT = Kept(lines=30, unsealed_lines=10, segments=2, file_bytes=4096, segment_bytes=512)
DEPTH = QueueDepth({"Enqueued": 7, "Retrying": 1, "Dequeued": 0, "Running": 2, "Stopping": 0}, 12.5, 3, 4)


class FakeCommits:
    commit_durations = Durations((0.001, 0.01))
    writes = 9
    commits_failed = 1


class FakeLogs:
    waiting_bytes = 4096

    def __init__(self, lag: Lag) -> None:
        self.lag = lag


def outcome(error: str = "", **changes: Any) -> Outcome:
    made = Outcome(
        b"",
        FunctionError("E", error) if error else None,
        20.0,
        30.0,
        b"",
        "c-1",
        "LATEST",
        "1",
        False,
        Phases(invoke_ms=20.0),
    )
    return msgspec.structs.replace(made, **changes)


def counted() -> CallCounts:
    counts = CallCounts()
    call = Invocation("r", Target("s", "LATEST", "f"), b"")
    counts.ended(call, outcome())
    counts.ended(call, outcome(cold=True, phases=Phases(1.0, 2.0, 3.0, 4.0, {"fork_ms": 2.0})))
    counts.ended(call, outcome("timeout"))
    counts.ended(msgspec.structs.replace(call, asynchronous=True), outcome())
    return counts


def scrape(depth: QueueDepth | None = DEPTH, calls: CallCounts | None = None) -> Scrape:
    clocks = FakeClocks()
    lag, logs = LoopLag(clocks), Lag(clocks)
    logs.taken()
    lag.start()
    clocks.advance(BEAT_S)
    lag.stop()

    async def read() -> QueueDepth:
        if depth is None:
            raise PlatformError("the database is out of reach")
        return depth

    async def read_kept() -> Kept:
        return KEPT

    counts = LogServiceCounts()
    counts.written_lines, counts.damaged_segments = 11, 2
    counts.queries["refused"].add(0.03)
    measured = Measured(
        calls=calls or counted(),
        pool=lambda: POOL,
        commits=FakeCommits(),
        logs=FakeLogs(logs),
        log_service=counts,
        loop_lag=lag,
        leader=Leader("n1-0a1b", "10.0.0.1:9011", "7"),
    )
    return Scrape(measured, read, read_kept)


async def samples(depth: QueueDepth | None = DEPTH) -> dict[tuple[str, ...], float]:
    """Each sample of Sesame's own by its name and the values of its labels."""
    text = (await scrape(depth).take("")).body.decode()
    return {
        (sample.name, *(sample.labels[label] for label in LABELS if label in sample.labels)): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


async def test_a_scrape_holds_what_was_counted() -> None:
    found = await samples()
    expected = {
        ("sesame_calls_total", "s", "f", "sync", "success"): 2,
        ("sesame_calls_total", "s", "f", "sync", "timeout"): 1,
        ("sesame_calls_total", "s", "f", "async", "success"): 1,
        ("sesame_call_duration_seconds_count", "s", "f", "sync"): 3,
        ("sesame_call_duration_seconds_sum", "s", "f", "sync"): pytest.approx(0.050),
        ("sesame_call_duration_seconds_bucket", "s", "f", "sync", "0.01"): 1,
        ("sesame_call_duration_seconds_bucket", "s", "f", "sync", "0.025"): 3,
        ("sesame_call_duration_seconds_bucket", "s", "f", "sync", "+Inf"): 3,
        ("sesame_cold_starts_total", "s", "f"): 1,
        ("sesame_cold_start_phase_seconds_sum", "initialize"): pytest.approx(0.003),
        ("sesame_start_step_seconds_sum", "fork"): pytest.approx(0.002),
        ("sesame_function_memory_peak_bytes", "s", "f"): 30 * 1024 * 1024,
        ("sesame_instances", "s", "f", "busy"): 2,
        ("sesame_instances", "s", "g", "frozen"): 1,
        ("sesame_provisioned_instances", "s", "f"): 3,
        ("sesame_provisioned_instances_target", "s", "f"): 4,
        ("sesame_instance_memory_reserved_bytes",): 384 * 1024 * 1024,
        ("sesame_instance_requests_total", "refused"): 2,
        ("sesame_idle_instances_ended_total", "died"): 4,
        ("sesame_async_invocations", "enqueued"): 7,
        ("sesame_async_invocations", "stopping"): 0,
        ("sesame_async_oldest_age_seconds",): 12.5,
        ("sesame_async_dead_letters",): 4,
        ("sesame_log_lag_seconds",): BEAT_S,
        ("sesame_log_service_lines",): 30,
        ("sesame_log_service_unsealed_lines",): 10,
        ("sesame_log_service_segments",): 2,
        ("sesame_log_service_bytes", "file"): 4096,
        ("sesame_log_service_bytes", "segments"): 512,
        ("sesame_log_service_written_lines_total",): 11,
        ("sesame_log_service_damaged_segments_total",): 2,
        ("sesame_log_service_query_seconds_count", "refused"): 1,
        ("sesame_log_service_query_seconds_count", "answered"): 0,
        ("sesame_store_up",): 1,
        ("sesame_store_writes_total",): 9,
        ("sesame_event_loop_lag_seconds_count",): 1,
        ("sesame_cluster_leader_info", "n1-0a1b", "7"): 1,
    }
    assert {key: found.get(key) for key in expected} == expected
    assert found["process_cpu_seconds_total",] > 0


async def test_a_scrape_says_when_the_database_does_not_answer_and_holds_the_rest() -> None:
    found = await samples(None)
    assert found["sesame_store_up",] == 0
    assert found["sesame_calls_in_flight",] == 2
    assert not any(name.startswith("sesame_async") for name, *_labels in found)


async def test_every_metric_is_in_a_scrape_under_its_name_and_kind() -> None:
    text = (await scrape().take("")).body.decode()
    kinds = dict(re.findall(r"^# TYPE (sesame_\S+) (\S+)$", text, re.MULTILINE))
    assert kinds == {each.name: each.kind for each in definitions.ALL}


async def test_whatever_else_is_accepted_the_text_of_prometheus_is_given() -> None:
    for accept in ("", "*/*", ";;,,", "text/plain;version=x;escaping=y", "text/html"):
        assert (await scrape().take(accept)).content_type == "text/plain; version=0.0.4; charset=utf-8"
    strange = await scrape().take("application/openmetrics-text;version=x")
    assert strange.content_type.startswith("application/openmetrics-text")


async def test_openmetrics_is_given_to_whom_asks_for_it() -> None:
    scraped = await scrape().take("application/openmetrics-text;version=1.0.0,text/plain;q=0.5")
    assert scraped.content_type.startswith("application/openmetrics-text")
    families = {family.name for family in openmetrics_parser.text_string_to_metric_families(scraped.body.decode())}
    assert "sesame_calls" in families


@pytest.mark.parametrize(
    ("method", "path", "status", "says"),
    [
        ("GET", b"/metrics", 200, b"sesame_calls_total"),
        ("GET", b"/", 404, b"expected /metrics"),
        ("POST", b"/metrics", 405, b"expected GET"),
    ],
)
async def test_the_endpoint_serves_one_path(method: str, path: bytes, status: int, says: bytes) -> None:
    address = ("127.0.0.1", 1)
    request = Request(method, (path, b""), ((b"accept", b"*/*"),), "1.1", ("http", address, address))
    exchange = FakeExchange(request)
    await MetricsEndpoint(scrape()).serve(exchange)
    assert exchange.status == status
    assert says in exchange.body


def test_the_page_has_the_table_of_metrics() -> None:
    assert definitions.as_markdown() in (DOCS / "metrics.md").read_text()


def queries(node: object) -> Iterator[str]:
    """Every query of a dashboard."""
    if isinstance(node, dict):
        yield from (str(node[key]) for key in ("expr", "query") if isinstance(node.get(key), str))
        yield from (each for value in node.values() for each in queries(value))
    elif isinstance(node, list):
        yield from (each for value in node for each in queries(value))


async def test_every_metric_and_label_of_the_dashboard_exists() -> None:
    text = (await scrape().take("")).body.decode()
    exposed = {sample.name for family in text_string_to_metric_families(text) for sample in family.samples}
    labels = {label for each in definitions.ALL for label in each.labels} | {"le", "job", "instance"}
    found = list(queries(json.loads((DOCS / "grafana-dashboard.json").read_text())))
    named = {name for query in found for name in re.findall(r"\b(?:sesame|process)_[a-z_]+\b", query)}
    assert len(found) > 10
    assert named <= exposed
    used = {label for query in found for label in re.findall(r"[{,]\s*([a-z_]+)\s*(?:=~?|!=)", query)}
    grouped = {
        label.strip() for query in found for group in re.findall(r"by \(([^)]*)\)", query) for label in group.split(",")
    }
    assert used | grouped <= labels
