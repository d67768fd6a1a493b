"""What `sesame top` reads out of two scrapes: differences, percentiles, a server that was started again meanwhile.

Run by pytest, without a server.
"""

import msgspec
import pytest
from tests.metrics.test_scrape import counted, scrape

from sesame.metrics import reading
from sesame.metrics.calls import CallCounts
from sesame.model.invocation import Invocation, Outcome, Phases, Target

OUTCOME = Outcome(b"", None, 20.0, 30.0, b"", "c-1", "LATEST", "1", False, Phases(invoke_ms=20.0))


async def read(counts: CallCounts) -> reading.Samples:
    return reading.samples_of((await scrape(calls=counts).take("")).body.decode())


def call(counts: CallCounts, function: str, times: int, took_ms: float) -> None:
    for _ in range(times):
        outcome = msgspec.structs.replace(OUTCOME, phases=Phases(invoke_ms=took_ms))
        counts.ended(Invocation("r", Target("s", "LATEST", function), b""), outcome)


async def test_one_look_tells_of_everything_since_the_start() -> None:
    found = reading.look(await read(counted()))
    (row,) = found.functions
    assert (row.service, row.function, row.calls, row.errors, row.cold_starts) == ("s", "f", 4, 1, 1)
    assert (row.calls_per_s, row.memory_peak_mb, row.instances) == (None, 30.0, {"busy": 2})
    assert (found.async_waiting, found.async_oldest_age_s, found.log_lag_s) == (8, 12.5, 0.25)
    assert (found.memory_reserved_mb, found.memory_reserved_max_mb, found.calls_in_flight) == (384, 1024, 2)


async def test_two_looks_tell_what_happened_between_them_busiest_first() -> None:
    counts = CallCounts()
    call(counts, "f", 10, 2000.0)
    before = await read(counts)
    call(counts, "f", 4, 4.0)
    call(counts, "g", 6, 80.0)
    busiest, other = reading.look(await read(counts), before, 2.0).functions
    assert (busiest.function, busiest.calls, busiest.calls_per_s) == ("g", 6, 3.0)
    assert busiest.p50_ms == pytest.approx(75.0)
    assert (other.function, other.calls) == ("f", 4)
    # The slow calls before do not count: 4 ms is in the bucket from 2.5 to 5 ms.
    assert other.p95_ms == pytest.approx(4.875)


async def test_a_server_that_was_started_again_counts_from_zero() -> None:
    counts = CallCounts()
    call(counts, "f", 10, 1.0)
    before = await read(counts)
    again = CallCounts()
    call(again, "f", 3, 1.0)
    (row,) = reading.look(await read(again), before, 1.0).functions
    assert (row.calls, row.calls_per_s) == (3, 3.0)


@pytest.mark.parametrize("text", ["<html>", "", "up 1\n"])
def test_what_is_no_metrics_of_a_sesame_is_refused(text: str) -> None:
    with pytest.raises(reading.NoMetrics):
        reading.samples_of(text)


def test_a_quantile_lies_in_its_bucket() -> None:
    buckets = {0.1: 50.0, 0.2: 90.0, float("inf"): 100.0}
    assert reading.quantile(0.5, buckets) == pytest.approx(0.1)
    assert reading.quantile(0.7, buckets) == pytest.approx(0.15)
    assert reading.quantile(0.99, buckets) == 0.2
    assert reading.quantile(0.5, {0.1: 0.0, float("inf"): 0.0}) is None
    assert reading.quantile(0.5, {}) is None
