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


# POLICY: rows beyond this number that wait to be written are dropped, and Sesame's log says how many.
WAITING_MAX = 50_000


class WaitingRows:
    """Rows that wait to be written together. `what` names them in messages."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._rows: list[Row] = []
        self._dropped = 0

    def add(self, rows: Rows) -> None:
        """Never blocks and raises nothing."""
        room = WAITING_MAX - len(self._rows)
        self._dropped += max(len(rows) - room, 0)
        self._rows += rows[:room]

    def take(self) -> Rows:
        """Removes and returns all of them; logs how many were dropped since the last call."""
        if self._dropped:
            what = self._what
            log.warning(f"rows of {what} were dropped: they came faster than they were written", rows=self._dropped)
        taken, self._rows, self._dropped = self._rows, [], 0
        return taken


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
