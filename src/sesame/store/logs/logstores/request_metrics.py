"""Writes a row for each call of a service with request metrics to its logstore, with the cloud's fields.

The engine calls `take` as a call ends; rows are written together a fraction of a second later.
"""

import asyncio
import socket
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping

from sesame.model.clocks import Clocks, pause
from sesame.model.invocation import Invocation, Outcome
from sesame.model.logstore import LogRecord
from sesame.model.owner import service_of
from sesame.model.snapshot import Snapshot
from sesame.store.logs.file import SourceKey
from sesame.store.logs.logstores.function_logs import version_field
from sesame.store.logs.logstores.metric_rows import Row, Rows, WaitingRows, Writing

TOPIC = "FCRequestMetrics"
WRITTEN_TOGETHER_S = 0.15
_ERROR_TYPES = {"out_of_memory": "FunctionOOMError", "timeout": "FunctionTimeoutError"}
_UNHANDLED = "FunctionUnhandledError"

# Service and function of each running instance.
Instances = Callable[[], Iterable[tuple[str, str]]]
Fields = tuple[tuple[str, str], ...]


class RequestMetrics:
    """Belongs to one event loop."""

    def __init__(self, rows: Writing, instances: Instances | None, clocks: Clocks) -> None:
        """`instances` is None where others know them, which add their number to each row."""
        self._rows = rows
        self._instances = instances
        self._clocks = clocks
        self._host = socket.gethostname()
        self._waiting = WaitingRows("request metrics")
        self._came = asyncio.Event()

    def take(self, invocation: Invocation, snapshot: Snapshot, outcome: Outcome) -> None:
        """Never blocks and raises nothing."""
        target = snapshot.log_target
        source = SourceKey(
            snapshot.service, snapshot.function, snapshot.version_id, outcome.instance_id, target.project,
            target.logstore, invocation.target.qualifier,
        )  # fmt: skip
        now_s = self._clocks.wall()
        fields = fields_of(invocation, snapshot, outcome, now_s)
        record = LogRecord(int(now_s), int(now_s % 1 * 1e9), (*fields, ("hostname", self._host)))
        self.add([(source, record)])

    def add(self, rows: Rows) -> None:
        """Rows that lack nothing but the number of instances. Never blocks and raises nothing."""
        self._waiting.add(rows)
        self._came.set()

    async def run(self) -> None:
        """Writes rows as they come; never returns."""
        while True:
            await self._came.wait()
            await pause(self._clocks, WRITTEN_TOGETHER_S)
            await self.write()

    async def write(self) -> None:
        """Writes the waiting rows."""
        self._came.clear()
        waiting = self._waiting.take()
        counted = waiting if self._instances is None else self._counted(waiting, Counter(self._instances()))
        await self._rows.write(TOPIC, counted)

    def _counted(self, rows: Rows, running: "Counter[tuple[str, str]]") -> Iterator[Row]:
        """Adds the number of currently running instances."""
        active = str(running.total())
        for source, record in rows:
            own = str(running[source.service, source.function])
            counts = (("activeInstances", active), ("activeInstancesPerFunction", own))
            yield source, LogRecord(record.time_s, record.time_ns, record.contents + counts)


def fields_of(invocation: Invocation, snapshot: Snapshot, outcome: Outcome, ended_s: float) -> Fields:
    """The row's fields except those of the machine (reference/companions.md §4.9). Times are Unix milliseconds."""
    phases = outcome.phases
    ended_ms = ended_s * 1000
    began_ms = ended_ms - phases.total_ms
    fields = {
        "serviceName": service_of(snapshot.service),
        "functionName": snapshot.function,
        "versionId": version_field(snapshot.version_id),
        "qualifier": invocation.target.qualifier,
        "requestId": invocation.request_id,
        "instanceID": outcome.instance_id,
        "operation": "InvokeFunction",
        "invocationType": "Async" if invocation.asynchronous else "Sync",
        "resourceMode": "Provision" if outcome.provisioned else "OnDemand",
        "memoryMB": str(snapshot.limits.memory_mb),
        "memoryUsageMB": f"{outcome.memory_mb:.2f}",
        "durationMs": f"{outcome.duration_ms:.2f}",
        "isColdStart": str(outcome.cold).lower(),
        "hasFunctionError": str(outcome.error is not None).lower(),
        "scheduleLatencyMs": f"{phases.queue_ms:.2f}",
        "invokeFunctionLatencyMs": f"{phases.invoke_ms:.2f}",
        "invocationStartTimestamp": f"{began_ms:.0f}",
        "invokeFunctionStartTimestamp": f"{ended_ms - phases.invoke_ms:.0f}",
    }
    if outcome.error is not None:
        fields["errorType"] = _ERROR_TYPES.get(outcome.error.reason, _UNHANDLED)
    if outcome.cold:
        started_ms = began_ms + phases.queue_ms
        fields |= {
            "instanceEvent": "ColdStart",
            "coldStartStartTimestamp": f"{started_ms:.0f}",
            "coldStartLatencyMs": f"{phases.start_ms + phases.initialize_ms:.2f}",
            "runtimeInitializationStartTimestamp": f"{started_ms + phases.start_ms:.0f}",
            "runtimeInitializationMs": f"{phases.initialize_ms:.2f}",
        }
    if invocation.retry_count:
        fields["retryCount"] = str(invocation.retry_count)
    if invocation.http_params is not None:
        fields |= _of_http(invocation.http_params, outcome)
    return tuple(fields.items())


def _of_http(asked: Mapping[str, object], outcome: Outcome) -> dict[str, str]:
    found = {"method": "method", "requestURI": "request_uri", "clientIP": "client_ip"}
    fields = {field: str(asked[name]) for field, name in found.items()}
    answered = (outcome.http_params or {}).get("status")
    return fields | ({"statusCode": str(answered)} if answered is not None else {})
