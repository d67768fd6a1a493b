"""Versions: published, listed and deleted as the API says (reference/api.md §3.4).

Called by the doors; answers with records.
Never changes a version, and never gives a number twice.
"""

from typing import Any

from sesame.control import checks
from sesame.control.dependents import forget_qualifier
from sesame.control.inputs import Listing, Page, PublishInput
from sesame.control.listing import limit_of
from sesame.control.views import service_view
from sesame.model import records
from sesame.model.errors import Invalid, NotFound, Unchanged
from sesame.model.records import Record
from sesame.model.version import FrozenFunction, Version, VersionCounter, frozen_parent
from sesame.store.catalog import Catalog, Transaction

FORWARD, BACKWARD = "FORWARD", "BACKWARD"
VERSION_DIGITS = 18


class Versions:
    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog

    async def publish(
        self, service: str, sent: PublishInput, if_match: str | None = None, *, unchanged_is_fine: bool = False
    ) -> Record:
        """Freezes the service and all of its functions under the next number.

        `if_match` is the service's etag. Raises `Unchanged` when nothing changed since the newest version
        that still exists; with `unchanged_is_fine` that version is the answer.
        """
        checks.description(sent.description)

        def edit(tx: Transaction) -> Record:
            present = tx.get(records.SERVICE, "", service)
            if present is None:
                raise NotFound(records.SERVICE, service)
            checks.precondition(present, if_match)
            functions = tx.children(records.FUNCTION, service)
            newest = max(tx.children(records.VERSION, service), key=_number, default=None)
            if newest is not None and _is_same(tx, newest, present, functions):
                if unchanged_is_fine:
                    return newest
                raise Unchanged(records.SERVICE, service, newest.name)
            return _freeze(tx, sent.description, present, functions)

        return await self._catalog.edit(edit)

    async def list(self, service: str, wanted: Listing, direction: str = "") -> Page:
        """By number, newest first unless `direction` is FORWARD; the start key is a number, inclusive."""
        service_view(self._catalog, service)
        checks.one_of("direction", direction or BACKWARD, (BACKWARD, FORWARD))
        limit = limit_of(wanted)
        backward = direction != FORWARD
        versions = sorted(self._catalog.children(records.VERSION, service), key=_number, reverse=backward)
        start = wanted.next_token or wanted.start_key
        if start:
            if not (start.isascii() and start.isdecimal() and len(start) <= VERSION_DIGITS):
                raise Invalid("start_key", "the number of a version", checks.shown(start))
            first = int(start)
            versions = [v for v in versions if (_number(v) <= first if backward else _number(v) >= first)]
        return Page(tuple(versions[:limit]), versions[limit].name if len(versions) > limit else None)

    async def delete(self, service: str, version: str) -> None:
        """Aliases that point to it stay, and point to nothing (reference/api.md §3.4)."""

        def edit(tx: Transaction) -> None:
            if tx.get(records.SERVICE, "", service) is None:
                raise NotFound(records.SERVICE, service)
            if tx.get(records.VERSION, service, version) is None:
                raise NotFound(records.VERSION, version, (service,))
            parent = frozen_parent(service, version)
            for record in tx.children(records.FROZEN_FUNCTION, parent):
                tx.delete(records.FROZEN_FUNCTION, parent, record.name)
            tx.delete(records.VERSION, service, version)
            forget_qualifier(tx, service, version)

        await self._catalog.edit(edit)


def _number(record: Record) -> int:
    return int(record.name)


def _is_same(tx: Transaction, version: Record, present: Record, functions: list[Record]) -> bool:
    frozen = tx.children(records.FROZEN_FUNCTION, frozen_parent(present.name, version.name))
    then: dict[str, Any] = {record.name: record.document.function for record in frozen}
    now: dict[str, Any] = {record.name: record.document for record in functions}
    return bool(version.document.service == present.document and then == now)


def _freeze(tx: Transaction, description: str, present: Record, functions: list[Record]) -> Record:
    service = present.name
    counter = tx.get(records.VERSION_COUNTER, "", service)
    number = 1 if counter is None else counter.document.last + 1
    tx.put(records.VERSION_COUNTER, "", service, VersionCounter(last=number))
    version_id = str(number)
    for record in functions:
        frozen = FrozenFunction(record.document, record.etag, record.created_at, record.modified_at)
        tx.put(records.FROZEN_FUNCTION, frozen_parent(service, version_id), record.name, frozen)
    return tx.put(records.VERSION, service, version_id, Version(version_id, description, present.document))
