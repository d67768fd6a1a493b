"""Versions of a service or a function: publishes, lists and deletes them (reference/api.md §3.4).

Called by the endpoints; returns records. A version never changes, and no number is reused.
"""

from typing import Any

import msgspec

from sesame.control import checks
from sesame.control.dependents import forget_qualifier
from sesame.control.inputs import Listing, Page, PublishInput
from sesame.control.listing import limit_of
from sesame.control.views import existing
from sesame.model import records
from sesame.model.errors import Invalid, NotFound, Unchanged
from sesame.model.natural import natural
from sesame.model.records import Record
from sesame.model.version import FrozenFunction, Version, VersionCounter, frozen_parent
from sesame.store.catalog import Catalog, Transaction

FORWARD, BACKWARD = "FORWARD", "BACKWARD"


class Versions:
    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog

    async def publish(
        self, owner: str, sent: PublishInput, if_match: str | None = None, *, unchanged_is_fine: bool = False
    ) -> Record:
        """Freezes the owner (a service with all of its functions, or a function) under the next number.

        `if_match` is the owner's etag. If nothing changed since the newest existing version, raises `Unchanged`, or
        returns that version with `unchanged_is_fine`.
        """
        checks.description(sent.description)

        def edit(tx: Transaction) -> Record:
            present = existing(tx, owner)
            checks.precondition(present, if_match)
            functions = tx.children(records.FUNCTION, owner)
            newest = max(tx.children(records.VERSION, owner), key=_number, default=None)
            version = Version("", sent.description, present.document)
            if newest is not None and _is_same(tx, owner, newest, version, functions):
                if unchanged_is_fine:
                    return newest
                raise Unchanged(records.SERVICE, owner, newest.name)
            return _freeze(tx, owner, version, functions)

        return await self._catalog.edit(edit)

    async def list(self, owner: str, wanted: Listing, direction: str = "") -> Page:
        """By number, newest first unless `direction` is FORWARD; the start key is an inclusive number."""
        existing(self._catalog, owner)
        checks.one_of("direction", direction or BACKWARD, (BACKWARD, FORWARD))
        limit = limit_of(wanted)
        backward = direction != FORWARD
        versions = sorted(self._catalog.children(records.VERSION, owner), key=_number, reverse=backward)
        start = wanted.next_token or wanted.start_key
        if start:
            first = natural(start)
            if first is None:
                raise Invalid("start_key", "the number of a version", checks.shown(start))
            versions = [v for v in versions if (_number(v) <= first if backward else _number(v) >= first)]
        return Page(tuple(versions[:limit]), versions[limit].name if len(versions) > limit else None)

    async def delete(self, owner: str, version: str) -> None:
        """Aliases that point to it stay, and point to nothing (reference/api.md §3.4)."""

        def edit(tx: Transaction) -> None:
            existing(tx, owner)
            if tx.get(records.VERSION, owner, version) is None:
                raise NotFound(records.VERSION, version, (owner,))
            parent = frozen_parent(owner, version)
            for record in tx.children(records.FROZEN_FUNCTION, parent):
                tx.delete(records.FROZEN_FUNCTION, parent, record.name)
            tx.delete(records.VERSION, owner, version)
            forget_qualifier(tx, owner, version)

        await self._catalog.edit(edit)


def _number(record: Record) -> int:
    return int(record.name)


def _is_same(tx: Transaction, owner: str, newest: Record, version: Version, functions: list[Record]) -> bool:
    frozen = tx.children(records.FROZEN_FUNCTION, frozen_parent(owner, newest.name))
    then: dict[str, Any] = {record.name: record.document.function for record in frozen}
    now: dict[str, Any] = {record.name: record.document for record in functions}
    return bool(newest.document.service == version.service and then == now)


def _freeze(tx: Transaction, owner: str, version: Version, functions: list[Record]) -> Record:
    counter = tx.get(records.VERSION_COUNTER, "", owner)
    number = 1 if counter is None else counter.document.last + 1
    tx.put(records.VERSION_COUNTER, "", owner, VersionCounter(last=number))
    version_id = str(number)
    for record in functions:
        frozen = FrozenFunction(record.document, record.etag, record.created_at, record.modified_at)
        tx.put(records.FROZEN_FUNCTION, frozen_parent(owner, version_id), record.name, frozen)
    return tx.put(records.VERSION, owner, version_id, msgspec.structs.replace(version, version_id=version_id))
