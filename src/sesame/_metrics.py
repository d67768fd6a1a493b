"""Builds the metrics of a running Sesame and the endpoint that serves them, if a port is set.

Called by `app`: `Counting` before the engine, which it observes, `open_metrics` once everything is ready.
"""

from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import msgspec

from sesame._engine import EngineParts
from sesame._listening import Serving, serve
from sesame._patience import Patience
from sesame._storage import Storage
from sesame.engine.instance import Instance, State
from sesame.engine.interface import Observer, together
from sesame.engine.running import LocalEngine
from sesame.http.handover import Handover
from sesame.http.limits import Limits
from sesame.http.server import HttpServer
from sesame.metrics.calls import CallCounts
from sesame.metrics.loop_lag import LoopLag
from sesame.model.clocks import Clocks
from sesame.settings import TABLE, Settings

# The modules that make samples take a twentieth of a start to import, and are imported only if a port is set.
if TYPE_CHECKING:
    from sesame.agents.writer import Writer
    from sesame.cluster.members import Members
    from sesame.metrics.families import PoolState

# Scrapers are few. Functions may reach the port, too, and must not use up the process's descriptors.
LIMITS = Limits(connections=64, connections_per_peer=48, refused_connections=8)


class Counting:
    """Counts from the first call on; counts nothing if no port is set."""

    def __init__(self, settings: Settings) -> None:
        self.calls = CallCounts() if settings.metrics_port is not None else None

    def beside(self, observer: Observer) -> Observer:
        """An observer that passes everything to `observer` and counts it."""
        if self.calls is None:
            return observer
        return together(observer, Observer(ended=self.calls.ended, refused=self.calls.refused))


class MetricsNeeds(msgspec.Struct, frozen=True):
    """The collaborators of the endpoint. `teardown` stops its server. `writer` is set with several agents, `members`
    in a cluster.
    """

    settings: Settings
    clocks: Clocks
    teardown: AsyncExitStack
    counting: Counting
    handover: Handover | None
    writer: "Writer | None"
    members: "Members | None" = None


async def open_metrics(needs: MetricsNeeds, storage: Storage, engine: EngineParts) -> dict[str, str]:
    """Returns the URL by its field in `data_dir.Endpoints`, or nothing if no port is set.

    Raises `ConfigurationError` if the address is not available.
    """
    settings, calls = needs.settings, needs.counting.calls
    if calls is None or settings.metrics_port is None:
        return {}
    from sesame.metrics.endpoint import PATH, MetricsEndpoint
    from sesame.metrics.families import Leader, Measured
    from sesame.metrics.scrape import Scrape

    lag = LoopLag(needs.clocks)
    measured = Measured(
        calls=calls,
        pool=lambda: _pool_state(engine.engine, 0 if needs.writer is None else needs.writer.calls_elsewhere()),
        commits=storage.database,
        logs=storage.logs,
        log_service=storage.logstores.counts,
        loop_lag=lag,
        leader=None if needs.members is None else Leader(*needs.members.leader),
    )
    endpoint = MetricsEndpoint(Scrape(measured, storage.queue.depth, storage.logstores.kept))
    host, port = settings.metrics_host, settings.metrics_port
    server = HttpServer(endpoint, host=host, port=port, limits=LIMITS, clocks=needs.clocks)
    if needs.writer is not None:
        needs.writer.servers["metrics_port"] = server
    url = await serve(
        server, f"{TABLE['metrics_port'].flag} {port}", Serving(needs.teardown, Patience(0.0), needs.handover)
    )
    lag.start()
    needs.teardown.callback(lag.stop)
    return {"metrics": url + PATH.decode()}


def _pool_state(engine: LocalEngine, elsewhere: int) -> "PoolState":
    from sesame.metrics.families import InstanceCount, PoolState, ProvisionedCount

    pool = engine.pool
    counts = pool.counts
    return PoolState(
        instances=[
            InstanceCount(each.snapshot.service, each.snapshot.function, _state(each)) for each in pool.instances()
        ],
        provisioned=[
            ProvisionedCount(target.service, target.function, found.current, found.target)
            for target, found in engine.provisioned.statuses().items()
        ],
        calls_in_flight=pool.calls + elsewhere,
        memory_mb=pool.capacity.memory_mb,
        memory_max_mb=engine.caps.memory_mb,
        requests={"warm": counts.warm, "cold": counts.cold, "refused": counts.refused, "failed": counts.failed},
        idle_ended={
            "evicted": counts.evicted,
            "expired": counts.expired,
            "outdated": counts.outdated,
            "died": counts.died_idle,
        },
    )


def _state(instance: Instance) -> str:
    if instance.state is State.DEAD:
        return "ending"
    return "frozen" if instance.frozen else instance.state.value
