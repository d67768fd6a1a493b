"""Writes rows with each instance's resource use, for services with instance metrics, with the cloud's fields.

The engine calls `wake` as calls begin. While no instance of such a service lives, no timer runs.
"""

import asyncio
import socket
from collections.abc import Callable, Iterable
from typing import Protocol

from sesame.model.clocks import Clocks, pause
from sesame.model.logstore import LogRecord
from sesame.model.owner import service_of
from sesame.model.snapshot import Snapshot
from sesame.model.usage import Usage
from sesame.store.logs.file import SourceKey
from sesame.store.logs.logstores.function_logs import version_field
from sesame.store.logs.logstores.metric_rows import Row, Rows, WaitingRows, Writing

TOPIC = "FCInstanceMetrics"
EVERY_S = 10.0


class Measurable(Protocol):
    """The part of `engine.instance.Instance` that is read here."""

    @property
    def snapshot(self) -> Snapshot: ...
    @property
    def instance_id(self) -> str: ...
    @property
    def calls(self) -> int: ...
    async def usage(self) -> Usage | None: ...


class InstanceMetrics:
    """Belongs to one event loop. `instances` returns all existing ones."""

    def __init__(self, rows: Writing, instances: Callable[[], Iterable[Measurable]], clocks: Clocks) -> None:
        self._rows = rows
        self._instances = instances
        self._clocks = clocks
        self._host = socket.gethostname()
        self._wanted = asyncio.Event()
        # What others have measured.
        self._taken = WaitingRows("instance metrics")
        # By instance: the processor time at the last sample, and its time (monotonic).
        self._before: dict[str, tuple[float, float]] = {}

    def wake(self) -> None:
        """Notes that there may be an instance to measure. Never blocks and raises nothing."""
        self._wanted.set()

    async def run(self) -> None:
        """Writes rows every `EVERY_S` while there are instances to measure; never returns."""
        while True:
            await self._wanted.wait()
            await pause(self._clocks, EVERY_S)
            # Cleared before sampling: a call that begins meanwhile may start an instance that the sample misses.
            self._wanted.clear()
            if await self.write():
                self._wanted.set()

    async def write(self) -> int:
        """Writes a row for each instance to measure, and returns their number."""
        before, self._before = self._before, {}
        asking = [each for each in self._instances() if _asks(each.snapshot)]
        rows: list[Row] = []
        for instance in asking:
            usage = await instance.usage()
            if usage is None:
                continue
            now = self._clocks.monotonic()
            last = before.get(instance.instance_id)
            self._before[instance.instance_id] = (usage.cpu_s, now)
            cpu_percent = _percent(last, (usage.cpu_s, now)) if last is not None else None
            rows.append(self._row(instance, usage, cpu_percent))
        await self._rows.write(TOPIC, rows)
        await self.write_taken()
        return len(asking)

    def add(self, rows: Rows) -> None:
        """Rows of instances that others have, to be written with the next look. Never blocks and raises nothing."""
        self._taken.add(rows)
        self.wake()

    async def write_taken(self) -> None:
        if taken := self._taken.take():
            await self._rows.write(TOPIC, taken)

    def _row(self, instance: Measurable, usage: Usage, cpu_percent: float | None) -> Row:
        snapshot, target = instance.snapshot, instance.snapshot.log_target
        fields = {
            "serviceName": service_of(snapshot.service),
            "functionName": snapshot.function,
            "versionId": version_field(snapshot.version_id),
            "instanceID": instance.instance_id,
            "memoryUsageMB": f"{usage.memory_mb:.2f}",
            "memoryLimitMB": str(snapshot.limits.memory_mb),
            "concurrentRequests": str(instance.calls),
            "hostname": self._host,
        }
        if cpu_percent is not None:
            fields["cpuPercent"] = f"{cpu_percent:.2f}"
        if usage.cpu_quota is not None:
            fields["cpuQuotaPercent"] = f"{usage.cpu_quota * 100:.2f}"
        source = SourceKey(
            snapshot.service, snapshot.function, snapshot.version_id, instance.instance_id, target.project,
            target.logstore,
        )  # fmt: skip
        now_s = self._clocks.wall()
        return source, LogRecord(int(now_s), int(now_s % 1 * 1e9), tuple(fields.items()))


def _asks(snapshot: Snapshot) -> bool:
    """A trial's instance is excluded, because only its outcome may be recorded."""
    return snapshot.log_target.instance_metrics and not snapshot.trial


def _percent(last: tuple[float, float], now: tuple[float, float]) -> float | None:
    """Percent of one processor, between two samples."""
    took_s = now[1] - last[1]
    return max(now[0] - last[0], 0.0) / took_s * 100 if took_s > 0 else None
