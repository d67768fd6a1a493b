"""One scrape: all metrics, in the format that the scraper requests.

Called by `metrics.endpoint`. Collects samples on the event loop, and encodes them on a thread.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar

import msgspec
from prometheus_client import GCCollector, Metric, ProcessCollector, generate_latest
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.registry import Collector, CollectorRegistry

from sesame.metrics import families
from sesame.metrics.families import Depth, LogsKept, Measured
from sesame.model.errors import PlatformError

T = TypeVar("T")

_OPENMETRICS = "application/openmetrics-text"
_TEXT = "text/plain; version=0.0.4; charset=utf-8"


class Scraped(msgspec.Struct, frozen=True):
    content_type: str
    body: bytes


class Scrape:
    """`depth` reads the queue, `kept` the logstores; each raises `PlatformError` if its database does not answer."""

    def __init__(
        self, measured: Measured, depth: Callable[[], Awaitable[Depth]], kept: Callable[[], Awaitable[LogsKept]]
    ) -> None:
        self._measured = measured
        self._depth = depth
        self._kept = kept
        # These collectors inspect the process at each scrape, on the encoding thread. Their own registry keeps them out
        # of the library's global one.
        self._process = CollectorRegistry()
        ProcessCollector(registry=self._process)
        GCCollector(registry=self._process)
        # Limits concurrent scrapers to the memory and database load of one.
        self._one_at_a_time = asyncio.Lock()

    async def take(self, accept: str) -> Scraped:
        """`accept` is the Accept header, which selects Prometheus' text format or OpenMetrics."""
        async with self._one_at_a_time:
            depth, kept = await _or_none(self._depth), await _or_none(self._kept)
            found = [*families.of_queue(depth), *families.of_logstores(kept), *families.in_process(self._measured)]
            return await asyncio.to_thread(self._encode, found, accept)

    def _encode(self, found: list[Metric], accept: str) -> Scraped:
        gathered = _Gathered([*found, *self._process.collect()])
        # The library's own selection fails on versions that are not numbers.
        if any(each.partition(";")[0].strip() == _OPENMETRICS for each in accept.split(",")):
            text: bytes = openmetrics.generate_latest(gathered)  # type: ignore[no-untyped-call]
            return Scraped(openmetrics.CONTENT_TYPE_LATEST, text)
        return Scraped(_TEXT, generate_latest(gathered))


async def _or_none(read: Callable[[], Awaitable[T]]) -> T | None:
    try:
        return await read()
    except PlatformError:
        # For the queue, `sesame_store_up` shows this; the database's message is in the log.
        return None


class _Gathered(Collector):
    """Presents collected samples to the encoder, which accepts only collectors."""

    def __init__(self, found: list[Metric]) -> None:
        self._found = found

    def collect(self) -> Iterable[Metric]:
        return self._found
