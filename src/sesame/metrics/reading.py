"""Parses scrapes, and computes the changes between two of them, for `sesame top`.

Depends only on Prometheus' text format and `metrics.definitions`, not on the server.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence

import msgspec
from prometheus_client.parser import text_string_to_metric_families

from sesame.metrics import definitions as names
from sesame.metrics.calls import MIB, SUCCESS, THROTTLED

# The samples of a scrape by metric name, each with labels and a value.
Samples = Mapping[str, Sequence[tuple[Mapping[str, str], float]]]


class NoMetrics(ValueError):
    """The text is not a Sesame's metrics."""


class FunctionRow(msgspec.Struct, frozen=True, rename="camel"):
    """One function. Times are None if no call reached an instance; `calls_per_s` is None without a time span."""

    service: str
    function: str
    calls: int
    calls_per_s: float | None
    errors: int
    throttled: int
    cold_starts: int
    p50_ms: float | None
    p95_ms: float | None
    memory_peak_mb: float
    instances: Mapping[str, int]


class Look(msgspec.Struct, frozen=True, rename="camel"):
    """Activity within `seconds`, or since the server's start if that is None, and the current state.

    Values that the server cannot provide, because its database does not answer or it keeps no logs, are None.
    """

    seconds: float | None
    functions: tuple[FunctionRow, ...]
    calls_in_flight: int
    memory_reserved_mb: int
    memory_reserved_max_mb: int
    async_waiting: int | None
    async_oldest_age_s: float | None
    log_lag_s: float | None


def samples_of(text: str) -> Samples:
    """Raises `NoMetrics` if the text cannot be parsed."""
    found: dict[str, list[tuple[Mapping[str, str], float]]] = defaultdict(list)
    try:
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                found[sample.name].append((sample.labels, sample.value))
    except ValueError as error:
        raise NoMetrics(str(error)) from error
    if names.BUILD.name not in found:
        raise NoMetrics(f"there is no {names.BUILD.name} in it")
    return found


def look(now: Samples, before: Samples | None = None, seconds: float | None = None) -> Look:
    """`before` was read `seconds` before `now`."""
    functions = sorted({(each["service"], each["function"]) for each, _value in now.get(names.CALLS.name, ())})
    rows = [_row(function, _of(now, function), _of(before or {}, function), seconds) for function in functions]
    states = {labels["state"]: value for labels, value in now.get(names.QUEUE.name, ())}
    return Look(
        seconds=seconds,
        functions=tuple(sorted(rows, key=lambda row: (-row.calls, row.service, row.function))),
        calls_in_flight=int(_value(now, names.CALLS_IN_FLIGHT) or 0),
        memory_reserved_mb=int(_value(now, names.INSTANCE_MEMORY) or 0) // MIB,
        memory_reserved_max_mb=int(_value(now, names.INSTANCE_MEMORY_MAX) or 0) // MIB,
        async_waiting=int(states.get("enqueued", 0) + states.get("retrying", 0)) if states else None,
        async_oldest_age_s=_value(now, names.QUEUE_AGE),
        log_lag_s=_value(now, names.LOG_LAG),
    )


def quantile(share: float, buckets: Mapping[float, float]) -> float | None:
    """Like PromQL's `histogram_quantile`: interpolates linearly within a bucket. None if nothing was counted.

    `buckets` are cumulative counts by upper bound, the last one infinite.
    """
    bounds = sorted(buckets)
    if not bounds or buckets[bounds[-1]] <= 0:
        return None
    rank, below, lower = share * buckets[bounds[-1]], 0.0, 0.0
    for bound in bounds[:-1]:
        if buckets[bound] >= rank:
            return lower + (bound - lower) * (rank - below) / (buckets[bound] - below)
        below, lower = buckets[bound], bound
    return lower


class _Numbers(msgspec.Struct):
    """A function's counters, with both kinds of calls combined, and its gauges."""

    outcomes: Counter[str]
    buckets: Counter[float]
    cold_starts: float
    memory_peak_bytes: float
    instances: dict[str, int]


def _of(samples: Samples, function: tuple[str, str]) -> _Numbers:
    def own(name: str) -> Iterable[tuple[Mapping[str, str], float]]:
        return ((at, value) for at, value in samples.get(name, ()) if (at["service"], at["function"]) == function)

    outcomes: Counter[str] = Counter()
    buckets: Counter[float] = Counter()
    for labels, value in own(names.CALLS.name):
        outcomes[labels["outcome"]] += int(value)
    for labels, value in own(f"{names.CALL_DURATION.name}_bucket"):
        buckets[float(labels["le"])] += int(value)
    return _Numbers(
        outcomes=outcomes,
        buckets=buckets,
        cold_starts=sum(value for _labels, value in own(names.COLD_STARTS.name)),
        memory_peak_bytes=max((value for _labels, value in own(names.MEMORY_PEAK.name)), default=0.0),
        instances={labels["state"]: int(value) for labels, value in own(names.INSTANCES.name)},
    )


def _row(function: tuple[str, str], now: _Numbers, before: _Numbers, seconds: float | None) -> FunctionRow:
    if now.outcomes.total() < before.outcomes.total():
        # The server has restarted, and its counters began at 0.
        before = _of({}, function)
    outcomes = now.outcomes - before.outcomes
    buckets = {bound: now.buckets[bound] - before.buckets[bound] for bound in now.buckets}
    p50, p95 = (quantile(share, buckets) for share in (0.5, 0.95))
    calls = outcomes.total()
    return FunctionRow(
        service=function[0],
        function=function[1],
        calls=calls,
        calls_per_s=calls / seconds if seconds else None,
        errors=calls - outcomes[SUCCESS] - outcomes[THROTTLED],
        throttled=outcomes[THROTTLED],
        cold_starts=int(now.cold_starts - before.cold_starts),
        p50_ms=None if p50 is None else p50 * 1000,
        p95_ms=None if p95 is None else p95 * 1000,
        memory_peak_mb=now.memory_peak_bytes / MIB,
        instances=now.instances,
    )


def _value(samples: Samples, definition: names.Definition) -> float | None:
    return next((value for _labels, value in samples.get(definition.name, ())), None)
