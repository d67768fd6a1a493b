"""Writes rows about calls and instances to logstores, for services that ask for such metrics.

Called by `app`, and by `_follower`, whose rows go to the writer.
"""

from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack

import msgspec

from sesame.background import BackgroundTasks
from sesame.engine.running import LocalEngine
from sesame.model.clocks import Clocks
from sesame.store.logs.logstores import instance_metrics, request_metrics
from sesame.store.logs.logstores.instance_metrics import InstanceMetrics
from sesame.store.logs.logstores.metric_rows import Rows, Writing
from sesame.store.logs.logstores.request_metrics import RequestMetrics


class FunctionMetricsNeeds(msgspec.Struct, frozen=True):
    """`teardown` writes the last rows. `knows_all`: the engine's pool has the instances of every agent."""

    clocks: Clocks
    teardown: AsyncExitStack
    background: BackgroundTasks
    rows: Writing
    knows_all: bool


def open_function_metrics(needs: FunctionMetricsNeeds, engine: LocalEngine) -> Callable[[str, Rows], None]:
    """Starts measuring. Returns what takes rows that other agents have measured, by their topic."""
    pool, clocks, background = engine.pool, needs.clocks, needs.background

    def instances() -> Iterator[tuple[str, str]]:
        return ((each.snapshot.service, each.snapshot.function) for each in pool.instances())

    of_requests = RequestMetrics(needs.rows, instances if needs.knows_all else None, clocks)
    background.keep("writing request metrics", of_requests.run)
    needs.teardown.push_async_callback(of_requests.write)
    of_instances = InstanceMetrics(needs.rows, pool.instances, clocks)
    background.keep("writing instance metrics", of_instances.run)
    needs.teardown.push_async_callback(of_instances.write_taken)
    engine.dispatcher.measure_with(of_requests.take, of_instances.wake)
    takers = {request_metrics.TOPIC: of_requests.add, instance_metrics.TOPIC: of_instances.add}
    return lambda topic, rows: takers[topic](rows)
