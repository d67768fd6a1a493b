"""Defines every metric of Sesame: name, kind, labels, meaning. docs/metrics.md contains the result of `as_markdown`.

Used by `metrics.families`. Names follow Prometheus' conventions: base units, and `_total` for counters.
"""

from collections.abc import Callable
from typing import Any

import msgspec
from prometheus_client import Metric
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    SummaryMetricFamily,
)

_KINDS: dict[str, Callable[..., Metric]] = {
    "counter": CounterMetricFamily,
    "gauge": GaugeMetricFamily,
    "histogram": HistogramMetricFamily,
    "summary": SummaryMetricFamily,
}
_FUNCTION = ("service", "function")


class Definition(msgspec.Struct, frozen=True):
    """`name` is the name in queries; for a histogram, without the suffix of its series."""

    name: str
    kind: str
    labels: tuple[str, ...]
    meaning: str

    def family(self) -> Any:
        """An empty metric family of this kind, to add samples to."""
        return _KINDS[self.kind](self.name.removesuffix("_total"), self.meaning, labels=self.labels)


CALLS = Definition(
    "sesame_calls_total", "counter", (*_FUNCTION, "type", "outcome"),
    "Calls that have ended. `type` is `sync` or `async`; each attempt at an asynchronous invocation is a call.",
)  # fmt: skip
CALL_DURATION = Definition(
    "sesame_call_duration_seconds", "histogram", (*_FUNCTION, "type"),
    "Duration of the calls that reached an instance: waiting, cold start, initializer and handler.",
)  # fmt: skip
CALLS_IN_FLIGHT = Definition(
    "sesame_calls_in_flight", "gauge", (), "Calls that wait for an instance or run on one."
)  # fmt: skip
COLD_STARTS = Definition(
    "sesame_cold_starts_total", "counter", _FUNCTION, "Calls that reached an instance started for them."
)  # fmt: skip
COLD_PHASE = Definition(
    "sesame_cold_start_phase_seconds", "histogram", ("phase",),
    "Time of each phase of a cold start: `queue` (waiting for capacity and a start slot), `start`, `initialize`.",
)  # fmt: skip
START_STEP = Definition(
    "sesame_start_step_seconds", "summary", ("step",), "Time of each step within a start, as the sandbox names them."
)  # fmt: skip
MEMORY_PEAK = Definition(
    "sesame_function_memory_peak_bytes", "gauge", _FUNCTION, "Peak memory use of any instance of the function."
)  # fmt: skip
INSTANCES = Definition(
    "sesame_instances", "gauge", (*_FUNCTION, "state"),
    "Instances: `starting`, `initializing`, `busy`, `idle`, `frozen` (idle, not running) or `ending`.",
)  # fmt: skip
PROVISIONED = Definition(
    "sesame_provisioned_instances", "gauge", _FUNCTION, "Provisioned instances that are ready for calls or serve one."
)  # fmt: skip
PROVISIONED_TARGET = Definition(
    "sesame_provisioned_instances_target", "gauge", _FUNCTION, "The number of provisioned instances wanted now."
)  # fmt: skip
INSTANCE_MEMORY = Definition(
    "sesame_instance_memory_reserved_bytes", "gauge", (), "Sum of the memory limits of all instances."
)  # fmt: skip
INSTANCE_MEMORY_MAX = Definition(
    "sesame_instance_memory_reserved_max_bytes", "gauge", (), "The maximum of that sum (`--max-memory-mb`)."
)  # fmt: skip
LEASES = Definition(
    "sesame_instance_requests_total", "counter", ("result",),
    "Requests for an instance: `warm` and `cold` got one, `refused` met a cap, `failed` met a failed start.",
)  # fmt: skip
INSTANCES_ENDED = Definition(
    "sesame_idle_instances_ended_total", "counter", ("reason",),
    "Idle instances that ended: `evicted` for another's memory, `expired`, `outdated` by a change, or `died`.",
)  # fmt: skip
QUEUE = Definition(
    "sesame_async_invocations", "gauge", ("state",),
    "Asynchronous invocations that have not ended: `enqueued` and `retrying` wait, the other states run.",
)  # fmt: skip
QUEUE_AGE = Definition(
    "sesame_async_oldest_age_seconds", "gauge", (),
    "Age of the oldest waiting asynchronous invocation, including delays and retries; 0 if none waits.",
)  # fmt: skip
DELIVERIES = Definition(
    "sesame_async_deliveries", "gauge", (), "Records of asynchronous invocations on their way to destinations."
)  # fmt: skip
DEAD_LETTERS = Definition("sesame_async_dead_letters", "gauge", (), "Records that could not be delivered.")
LOG_WAITING = Definition(
    "sesame_log_waiting_bytes", "gauge", (), "Output of functions that is not stored yet."
)  # fmt: skip
LOG_LAG = Definition(
    "sesame_log_lag_seconds", "gauge", (), "How long the oldest output has been waiting to be stored."
)  # fmt: skip
SLS_LINES = Definition("sesame_log_service_lines", "gauge", (), "Logs stored in logstores.")
SLS_UNSEALED = Definition(
    "sesame_log_service_unsealed_lines", "gauge", (),
    "Logs that are not in a segment yet; each query over their time range has to load them.",
)  # fmt: skip
SLS_SEGMENTS = Definition("sesame_log_service_segments", "gauge", (), "Sealed segments of logs, which queries read.")
SLS_BYTES = Definition(
    "sesame_log_service_bytes", "gauge", ("place",),
    "Disk space used by logstores: `file` (logstores.db) and `segments`.",
)  # fmt: skip
SLS_WRITTEN = Definition(
    "sesame_log_service_written_lines_total", "counter", (),
    "Logs written through the Log Service's API and as metrics of functions, without functions' output.",
)  # fmt: skip
SLS_QUERY = Definition(
    "sesame_log_service_query_seconds", "histogram", ("outcome",),
    "Time of queries, including the wait for a process: `answered`, `refused` (also for time or memory), `failed`.",
)  # fmt: skip
SLS_DAMAGED = Definition(
    "sesame_log_service_damaged_segments_total", "counter", (), "Segments that queries found damaged or missing."
)  # fmt: skip
STORE_UP = Definition("sesame_store_up", "gauge", (), "1 if the database answered this scrape, else 0.")
COMMIT = Definition(
    "sesame_store_commit_seconds", "histogram", (), "Time of each database commit, until it is on disk."
)  # fmt: skip
WRITES = Definition("sesame_store_writes_total", "counter", (), "Changes to the database; several share a commit.")
COMMITS_FAILED = Definition(
    "sesame_store_commit_failures_total", "counter", (), "Failed commits; every change in them failed, too."
)  # fmt: skip
LOOP_LAG = Definition(
    "sesame_event_loop_lag_seconds", "histogram", (), "Delay of the event loop, measured four times a second."
)  # fmt: skip
BUILD = Definition("sesame_build_info", "gauge", ("version",), "1; the version is in the label.")
LEADER = Definition(
    "sesame_cluster_leader_info", "gauge", ("node", "address", "epoch"),
    "1; in a cluster, the node whose process all of this is of.",
)  # fmt: skip

ALL = (
    CALLS, CALL_DURATION, CALLS_IN_FLIGHT, COLD_STARTS, COLD_PHASE, START_STEP, MEMORY_PEAK, INSTANCES, PROVISIONED,
    PROVISIONED_TARGET, INSTANCE_MEMORY, INSTANCE_MEMORY_MAX, LEASES, INSTANCES_ENDED, QUEUE, QUEUE_AGE, DELIVERIES,
    DEAD_LETTERS, LOG_WAITING, LOG_LAG, SLS_LINES, SLS_UNSEALED, SLS_SEGMENTS, SLS_BYTES, SLS_WRITTEN, SLS_QUERY,
    SLS_DAMAGED, STORE_UP, COMMIT, WRITES, COMMITS_FAILED, LOOP_LAG, BUILD, LEADER,
)  # fmt: skip


def as_markdown() -> str:
    """The table in docs/metrics.md."""
    lines = ["| metric | kind | labels | meaning |", "|---|---|---|---|"]
    for each in ALL:
        labels = ", ".join(f"`{label}`" for label in each.labels)
        lines.append(f"| `{each.name}` | {each.kind} | {labels} | {each.meaning} |")
    return "\n".join(lines) + "\n"
