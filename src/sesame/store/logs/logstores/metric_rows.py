"""Writes rows of metrics to the logstores of functions, if their services may write there.

Used by `request_metrics` and `instance_metrics`.
"""

from collections.abc import Iterable, Sequence
from typing import Protocol

import structlog

from sesame.model.errors import SesameError
from sesame.model.logstore import LogGroup, LogRecord
from sesame.model.owner import service_of
from sesame.store.logs.file import SourceKey
from sesame.store.logs.logstores.interface import Logstores
from sesame.store.logs.routes import Route, Routing

Row = tuple[SourceKey, LogRecord]
Rows = Sequence[Row]

log = structlog.get_logger(__name__)


class Writing(Protocol):
    """Where rows go: into logstores, or to the agent that has these."""

    async def write(self, topic: str, rows: Iterable[Row]) -> None:
        """Raises nothing. Returns once they are on their way."""


class MetricRows:
    """`route` decides whether a service's rows may be written."""

    def __init__(self, logstores: Logstores, route: Routing) -> None:
        self._logstores = logstores
        self._route = route

    async def write(self, topic: str, rows: Iterable[Row]) -> None:
        """Writes one group for each function and version; under the topic `<topic>:[<service>]/<function>`."""
        by_function: dict[tuple[str, ...], tuple[SourceKey, list[LogRecord]]] = {}
        for source, record in rows:
            key = (source.service, source.function, source.version_id, source.log_project, source.logstore)
            by_function.setdefault(key, (source, []))[1].append(record)
        for source, records in by_function.values():
            if not isinstance(self._route(source), Route):
                continue
            group = LogGroup(tuple(records), f"{topic}:{service_of(source.service)}/{source.function}")
            try:
                await self._logstores.append(source.log_project, source.logstore, group)
            except SesameError as error:
                log.warning("metrics are not written", topic=topic, project=source.log_project, error=str(error))
