"""Builds metric families from this process's counters and state at a scrape.

Called by `metrics.scrape` on the event loop, so that a scrape is consistent. The size is bounded by
`calls.FUNCTIONS_MAX` and the number of instances.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple, Protocol

import msgspec
from prometheus_client import Metric

from sesame import __version__
from sesame.metrics import definitions as names
from sesame.metrics.calls import MIB, CallCounts
from sesame.metrics.loop_lag import LoopLag
from sesame.model.durations import Durations


class InstanceCount(msgspec.Struct, frozen=True):
    """One instance to count; `state` is one of those in `definitions.INSTANCES`."""

    service: str
    function: str
    state: str


class ProvisionedCount(msgspec.Struct, frozen=True):
    """The provisioned instances of a function under one qualifier."""

    service: str
    function: str
    current: int
    target: int


class PoolState(msgspec.Struct, frozen=True):
    """An engine's instances, and the results of requests for them since the start."""

    instances: list[InstanceCount]
    provisioned: list[ProvisionedCount]
    calls_in_flight: int
    memory_mb: int
    memory_max_mb: int
    requests: Mapping[str, int]
    idle_ended: Mapping[str, int]


class Lag(Protocol):
    """See `store.logs.lag.Lag`."""

    @property
    def seconds(self) -> float: ...


class LogState(Protocol):
    """The part of `store.logs.intake.Logs` that is measured."""

    @property
    def waiting_bytes(self) -> int: ...

    @property
    def lag(self) -> Lag: ...


class Commits(Protocol):
    """The part of `store.sql.database.Database` that is measured."""

    @property
    def commit_durations(self) -> Durations: ...

    @property
    def writes(self) -> int: ...

    @property
    def commits_failed(self) -> int: ...


class Depth(Protocol):
    """See `store.queue.depth.QueueDepth`."""

    @property
    def invocations(self) -> Mapping[str, int]: ...

    @property
    def oldest_age_s(self) -> float: ...

    @property
    def deliveries(self) -> int: ...

    @property
    def dead_letters(self) -> int: ...


class LogsKept(Protocol):
    """See `store.logs.logstores.measuring.Kept`."""

    @property
    def lines(self) -> int: ...

    @property
    def unsealed_lines(self) -> int: ...

    @property
    def segments(self) -> int: ...

    @property
    def file_bytes(self) -> int: ...

    @property
    def segment_bytes(self) -> int: ...


class LogServiceCounts(Protocol):
    """See `store.logs.logstores.measuring.LogServiceCounts`."""

    @property
    def written_lines(self) -> int: ...

    @property
    def damaged_segments(self) -> int: ...

    @property
    def queries(self) -> Mapping[str, Durations]: ...


class Leader(NamedTuple):
    """A cluster's leading node, its address for other nodes, and its epoch."""

    node: str
    address: str
    epoch: str


class Measured(msgspec.Struct, frozen=True):
    """The sources of metrics. `logs` is None if no logs are kept, `leader` if there is no cluster."""

    calls: CallCounts
    pool: Callable[[], PoolState]
    commits: Commits
    logs: LogState | None
    log_service: LogServiceCounts
    loop_lag: LoopLag
    leader: Leader | None = None


def in_process(measured: Measured) -> Iterator[Metric]:
    """All metrics except those that require a database."""
    yield from _calls(measured.calls)
    yield from _pool(measured.pool(), measured.calls)
    yield from _commits(measured.commits)
    if measured.logs is not None:
        yield _one(names.LOG_WAITING, measured.logs.waiting_bytes)
        yield _one(names.LOG_LAG, measured.logs.lag.seconds)
    counts = measured.log_service
    yield _one(names.SLS_WRITTEN, counts.written_lines)
    yield _one(names.SLS_DAMAGED, counts.damaged_segments)
    yield _histogram(names.SLS_QUERY, {(outcome,): durations for outcome, durations in counts.queries.items()})
    yield _histogram(names.LOOP_LAG, {(): measured.loop_lag.durations})
    yield _labelled(names.BUILD, {(__version__,): 1})
    if measured.leader is not None:
        yield _labelled(names.LEADER, {tuple(measured.leader): 1})


def of_queue(depth: Depth | None) -> Iterator[Metric]:
    """Metrics of the queue; None if its database did not answer."""
    yield _one(names.STORE_UP, int(depth is not None))
    if depth is not None:
        yield _labelled(names.QUEUE, {(state.lower(),): count for state, count in depth.invocations.items()})
        yield _one(names.QUEUE_AGE, depth.oldest_age_s)
        yield _one(names.DELIVERIES, depth.deliveries)
        yield _one(names.DEAD_LETTERS, depth.dead_letters)


def of_logstores(kept: LogsKept | None) -> Iterator[Metric]:
    """Metrics of the logstores; None if their database did not answer."""
    if kept is not None:
        yield _one(names.SLS_LINES, kept.lines)
        yield _one(names.SLS_UNSEALED, kept.unsealed_lines)
        yield _one(names.SLS_SEGMENTS, kept.segments)
        yield _labelled(names.SLS_BYTES, {("file",): kept.file_bytes, ("segments",): kept.segment_bytes})


def _calls(counts: CallCounts) -> Iterator[Metric]:
    ended, durations = {}, {}
    for function, calls in counts.functions.items():
        for kind, of_kind in (("sync", calls.sync), ("async", calls.asynchronous)):
            for outcome, count in of_kind.outcomes.items():
                ended[(*function, kind, outcome)] = count
            if of_kind.durations.count:
                durations[(*function, kind)] = of_kind.durations
    yield _labelled(names.CALLS, ended)
    yield _histogram(names.CALL_DURATION, durations)
    functions = counts.functions.items()
    yield _labelled(names.COLD_STARTS, {function: calls.cold_starts for function, calls in functions})
    yield _labelled(names.MEMORY_PEAK, {function: calls.memory_peak_bytes for function, calls in functions})
    yield _histogram(names.COLD_PHASE, {(phase,): durations for phase, durations in counts.cold_phases.items()})
    steps = names.START_STEP.family()
    for step, of_step in counts.start_steps.items():
        steps.add_metric((step,), of_step.count, of_step.sum_s)
    yield steps


def _pool(pool: PoolState, counts: CallCounts) -> Iterator[Metric]:
    instances = Counter((*counts.name_of(each.service, each.function), each.state) for each in pool.instances)
    yield _labelled(names.INSTANCES, instances)
    current, target = Counter[tuple[str, ...]](), Counter[tuple[str, ...]]()
    for each in pool.provisioned:
        name = counts.name_of(each.service, each.function)
        current[name] += each.current
        target[name] += each.target
    yield _labelled(names.PROVISIONED, current)
    yield _labelled(names.PROVISIONED_TARGET, target)
    yield _one(names.CALLS_IN_FLIGHT, pool.calls_in_flight)
    yield _one(names.INSTANCE_MEMORY, pool.memory_mb * MIB)
    yield _one(names.INSTANCE_MEMORY_MAX, pool.memory_max_mb * MIB)
    yield _labelled(names.LEASES, {(result,): count for result, count in pool.requests.items()})
    yield _labelled(names.INSTANCES_ENDED, {(reason,): count for reason, count in pool.idle_ended.items()})


def _commits(commits: Commits) -> Iterator[Metric]:
    yield _histogram(names.COMMIT, {(): commits.commit_durations})
    yield _one(names.WRITES, commits.writes)
    yield _one(names.COMMITS_FAILED, commits.commits_failed)


def _one(definition: names.Definition, value: float) -> Metric:
    return _labelled(definition, {(): value})


def _labelled(definition: names.Definition, values: Mapping[Any, float]) -> Metric:
    family = definition.family()
    for labels, value in values.items():
        family.add_metric(labels, value)
    return family  # type: ignore[no-any-return]


def _histogram(definition: names.Definition, values: Mapping[Any, Durations]) -> Metric:
    family = definition.family()
    for labels, durations in values.items():
        buckets, total = [], 0
        for bound, count in zip((*durations.bounds_s, "+Inf"), list(durations.counts), strict=True):
            total += count
            buckets.append((str(bound), total))
        family.add_metric(labels, buckets, durations.sum_s)
    return family  # type: ignore[no-any-return]
