"""Where the events of a function come from, as registered by callers (reference/api.md §3.6).

Called by the endpoints; returns records. Sources are stored and listed, but Sesame has no source of such events.
"""

from sesame.control import checks
from sesame.control.views import function_view
from sesame.model import limits, records
from sesame.model.binding import EventSource, event_source_name
from sesame.model.errors import Missing, NotFound
from sesame.model.records import Record
from sesame.store.catalog import Catalog, Transaction


class EventSources:
    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog

    async def register(self, service: str, function: str, qualifier: str, source_arn: str) -> Record:
        """Idempotent. Raises `NotFound` if service, function or qualifier does not exist."""
        if not source_arn:
            raise Missing("source_arn")
        checks.length("source_arn", source_arn, limits.SOURCE_ARN_CHARS)
        source = EventSource(service, function, qualifier or limits.LATEST, source_arn)
        name = event_source_name(function, source.qualifier, source_arn)

        def edit(tx: Transaction) -> Record:
            function_view(tx, service, function, qualifier)
            known = tx.get(records.EVENT_SOURCE, service, name)
            return tx.put(records.EVENT_SOURCE, service, name, source) if known is None else known

        return await self._catalog.edit(edit)

    async def deregister(self, service: str, function: str, qualifier: str, source_arn: str) -> None:
        """Raises `NotFound` for a source that was not registered under exactly this qualifier."""
        name = event_source_name(function, qualifier or limits.LATEST, source_arn)

        def edit(tx: Transaction) -> None:
            function_view(tx, service, function, qualifier)
            if tx.get(records.EVENT_SOURCE, service, name) is None:
                raise NotFound(records.EVENT_SOURCE, checks.shown(source_arn), (service, function))
            tx.delete(records.EVENT_SOURCE, service, name)

        await self._catalog.edit(edit)

    async def list(self, service: str, function: str, qualifier: str) -> tuple[Record, ...]:
        function_view(self._catalog, service, function, qualifier)
        under = (function, qualifier or limits.LATEST)
        found = self._catalog.children(records.EVENT_SOURCE, service)
        return tuple(each for each in found if (each.document.function, each.document.qualifier) == under)
