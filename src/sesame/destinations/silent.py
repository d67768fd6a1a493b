"""Logs destinations that cannot receive records from this server, at start-up and whenever one is configured.

Opened by `_async`. Such destinations are stored, as the API requires; their records become dead letters, which can be
replayed.
"""

from collections.abc import Iterator

import structlog

from sesame.destinations.routes import Routes
from sesame.model import records
from sesame.model.configs import AsyncConfig
from sesame.model.owner import label
from sesame.model.records import Record
from sesame.store.catalog import Catalog, Change

NAMED_MAX = 10
NEXT_STEP = "sesame async replay sends what was kept, once a URL is set"

log = structlog.get_logger(__name__)


def tell_silent_destinations(catalog: Catalog, routes: Routes) -> None:
    """Logs one line for each such destination now, and one for each that is configured later."""
    by_destination: dict[str, list[str]] = {}
    for record in catalog.of_kind(records.ASYNC_CONFIG):
        for destination in _destinations(record):
            by_destination.setdefault(destination, []).append(_name(record))
    for destination, names in by_destination.items():
        _tell(destination, ", ".join(names[:NAMED_MAX]) + (" …" if len(names) > NAMED_MAX else ""), routes)
    catalog.on_change(lambda change: _changed(change, routes))


def _changed(change: Change, routes: Routes) -> None:
    if change.kind == records.ASYNC_CONFIG and change.record is not None:
        for destination in _destinations(change.record):
            _tell(destination, _name(change.record), routes)


def _tell(destination: str, functions: str, routes: Routes) -> None:
    if reason := routes.why_undelivered(destination):
        log.warning(
            "a destination cannot receive records from this server", destination=destination, functions=functions,
            reason=reason, next_step=NEXT_STEP,
        )  # fmt: skip


def _destinations(record: Record) -> Iterator[str]:
    config: AsyncConfig = record.document
    for each in (config.destination_config.on_success, config.destination_config.on_failure):
        if each is not None:
            yield each.destination


def _name(record: Record) -> str:
    config: AsyncConfig = record.document
    return label(config.service, config.function, config.qualifier)
