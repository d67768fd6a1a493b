"""The rows of instance metrics: what was measured and nothing else, every ten seconds while an instance lives."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import msgspec
import pytest
from tests.store.logstores.test_function_logs import written
from tests.store.logstores.test_request_metrics import SNAPSHOT
from tests.support.fakes import FakeClocks
from tests.support.virtual_time import eventually

from sesame.model.logstore import LogRecord
from sesame.model.snapshot import LogTarget, Snapshot
from sesame.model.usage import Usage
from sesame.store.logs.file import SourceKey
from sesame.store.logs.logstores.instance_metrics import InstanceMetrics, Measurable
from sesame.store.logs.logstores.metric_rows import MetricRows
from sesame.store.logs.logstores.store import LogStorage
from sesame.store.logs.routes import Route

ASKING = msgspec.structs.replace(SNAPSHOT, log_target=LogTarget("p", "l", instance_metrics=True))


class Living:
    """An instance that uses what the test says."""

    def __init__(self, snapshot: Snapshot, usage: Usage | None) -> None:
        self.snapshot = snapshot
        self.instance_id = "c-1"
        self.calls = 1
        self.used = usage

    async def usage(self) -> Usage | None:
        return self.used


async def rows(storage: LogStorage) -> list[dict[str, str]]:
    groups = await written(storage)
    assert {group.topic for group in groups} <= {"FCInstanceMetrics:s/f"}
    return sorted(
        (dict(record.contents) | {"at": str(record.time_s)} for group in groups for record in group.records),
        key=lambda row: row["at"],
    )


@pytest.fixture
def living() -> list[Measurable]:
    return []


@pytest.fixture
async def metrics(storage: LogStorage, clocks: FakeClocks, living: list[Measurable]) -> AsyncIterator[InstanceMetrics]:
    made = InstanceMetrics(MetricRows(storage, lambda _source: Route(1, multi_line=False)), lambda: living, clocks)
    running = asyncio.create_task(made.run())
    await clocks.settle()
    yield made
    running.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await running


async def test_a_living_instance_has_a_row_every_ten_seconds(
    metrics: InstanceMetrics, storage: LogStorage, clocks: FakeClocks, living: list[Measurable]
) -> None:
    instance = Living(ASKING, Usage(cpu_s=1.0, memory_mb=20.25, cpu_quota=0.5))
    living += [instance, Living(SNAPSHOT, Usage(1.0, 1.0)), Living(ASKING, None)]
    began = clocks.wall()
    metrics.wake()
    for count in (1, 2):
        await clocks.pass_time(10)

        async def there(count: int = count) -> bool:
            return len(await rows(storage)) == count

        await eventually(there)
        await clocks.settle()
        instance.used = Usage(cpu_s=3.5, memory_mb=30.0)
    first, second = await rows(storage)
    assert float(first.pop("at")) == began + 10
    assert float(second["at"]) == began + 20
    assert first.pop("hostname") == second["hostname"]
    # What the first look cannot tell it does not say.
    assert first == {
        "serviceName": "s", "functionName": "f", "versionId": "1", "instanceID": "c-1", "memoryUsageMB": "20.25",
        "memoryLimitMB": "128", "concurrentRequests": "1", "cpuQuotaPercent": "50.00",
    }  # fmt: skip
    assert (second["cpuPercent"], second["memoryUsageMB"]) == ("25.00", "30.00")
    assert "cpuQuotaPercent" not in second


async def test_without_an_instance_that_asks_no_timer_runs(
    metrics: InstanceMetrics, storage: LogStorage, clocks: FakeClocks, living: list[Measurable]
) -> None:
    before = len(clocks.timers)
    await clocks.pass_time(100)
    living.append(Living(SNAPSHOT, Usage(1.0, 1.0)))
    metrics.wake()
    await clocks.settle()
    assert len(clocks.timers) == before + 1
    await clocks.pass_time(10)
    assert len(clocks.timers) == before
    assert await rows(storage) == []


async def test_a_trial_leaves_no_rows(metrics: InstanceMetrics, storage: LogStorage, living: list[Measurable]) -> None:
    living.append(Living(msgspec.structs.replace(ASKING, trial=True), Usage(1.0, 1.0)))
    assert await metrics.write() == 0
    assert await rows(storage) == []


async def test_rows_of_other_agents_are_written_with_the_next_look_and_at_the_end(
    metrics: InstanceMetrics, storage: LogStorage, clocks: FakeClocks
) -> None:
    source = SourceKey("s", "f", "1", "c-2", "p", "l")
    metrics.add([(source, LogRecord(1, 0, (("instanceID", "c-2"),)))])
    await clocks.settle()
    await clocks.pass_time(10)

    async def there() -> bool:
        return [row["instanceID"] for row in await rows(storage)] == ["c-2"]

    await eventually(there)
    metrics.add([(source, LogRecord(2, 0, (("instanceID", "c-3"),)))])
    await metrics.write_taken()
    await metrics.write_taken()
    assert [row["instanceID"] for row in await rows(storage)] == ["c-2", "c-3"]
